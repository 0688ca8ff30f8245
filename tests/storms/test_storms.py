"""Storms of I/O errors: no traceback, nothing lost, nothing dropped in silence.

LESSON15_STORM_TRIES=1000 makes so many tries; LESSON15_STORM_SEED=N begins with try N, so that
LESSON15_STORM_TRIES=1 LESSON15_STORM_SEED=N repeats one.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from pprint import pformat

import pytest

from tests.storms.shim import build, compiler
from tests.storms.tries import Judge, Try
from tests.storms.world import World
from tests.storms.zygote import Zygote

TRIES = int(os.environ.get("LESSON15_STORM_TRIES", "60"))
SEED = int(os.environ.get("LESSON15_STORM_SEED", time.strftime("%Y%m%d000", time.gmtime())))
_PARTS = 4 if TRIES > 4 else 1

pytestmark = [
    pytest.mark.skipif(compiler() is None, reason="there is no C compiler to build storm.c with"),
    pytest.mark.timeout(max(1800, 60 * TRIES)),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Zygote]]:
    folder = tmp_path_factory.mktemp("storms")
    with Zygote(build(folder), folder) as zygote:
        yield World(folder, zygote), zygote


@pytest.mark.parametrize("part", range(_PARTS))
def test_storms(place: tuple[World, Zygote], part: int) -> None:
    world, zygote = place
    failed: list[str] = []
    counts: Counter[str] = Counter()
    for seed in range(SEED + part, SEED + TRIES, _PARTS):
        judge = Judge(Try.of(seed, world), world, zygote)
        judge.judge()
        attempt = judge.describe()["try"]
        if judge.findings:
            failed.append(pformat(judge.describe(), width=100))
        ends = judge.done.returncode if judge.done else None
        for call in attempt.storm.calls if judge.struck else ["nothing struck"]:
            counts[f"{attempt.storm.error} {call} -> {ends}"] += 1
    if report := os.environ.get("LESSON15_STORM_REPORT"):
        Path(report).with_suffix(f".{part}").write_text(pformat(dict(counts)) + "\n")
    assert not failed, f"{len(failed)} of {TRIES // _PARTS} tries failed:\n" + "\n\n".join(failed)
