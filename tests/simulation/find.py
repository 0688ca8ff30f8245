"""In which universe each planted bug is found; writes ``seeds.json``, which the tests try first.

python -m tests.simulation.find [MOST]
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from lesson15.simulation import Progress, search
from tests.simulation.bugs import BUGS

SEEDS = Path(__file__).with_name("seeds.json")


def find(most: int) -> dict[str, int]:
    """The first seed for each bug that is found in ``most`` universes."""
    seeds: dict[str, int] = {}
    for name, plant in BUGS.items():
        began, progress = time.monotonic(), Progress()
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            found = search(range(1, most + 1), shrinks=False, progress=progress)
        told = "not found"
        if found is not None:
            seeds[name] = found.first.seed
            told = str(found.first.violation)[:100]
        seconds = time.monotonic() - began
        print(f"{name}: {progress.universes} universes, {seconds:.1f} s: {told}", flush=True)
    print(f"{len(seeds)} of {len(BUGS)} found in {most} universes each")
    return seeds


if __name__ == "__main__":
    seeds = find(int(sys.argv[1]) if sys.argv[1:] else 300)
    SEEDS.write_text(json.dumps(seeds, indent=2) + "\n", encoding="utf-8")
