"""Storms of I/O errors: no traceback, nothing lost, nothing dropped in silence.

LESSON15_STORM_TRIES=1000 makes so many tries; LESSON15_STORM_SEED=N begins with try N, so that
LESSON15_STORM_TRIES=1 LESSON15_STORM_SEED=N repeats one.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from pprint import pformat

import pytest

from tests.storms.shim import Storm, build, compiler
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


@pytest.mark.parametrize(
    ("command", "kind", "code"),
    [
        ("run", "none", 3), ("resume", "changed", 3), ("resume", "killed", 3),
        ("retry-failed", "dead", 3), ("repair", "damaged", 3), ("rekey", "sealed", 3),
        ("verify", "done", 0), ("search", "done", 0), ("status", "done", 0), ("list", "done", 0),
        ("failures", "dead", 0), ("repair", "done", 0),
    ],
)  # fmt: skip
def test_a_full_disk(place: tuple[World, Zygote], command: str, kind: str, code: int) -> None:
    """Not a byte can be written: what has to is told, what does not goes on."""
    world, zygote = place
    storm = Storm((world.state,), ("write",), "ENOSPC", log=world.folder / "struck")
    judge = Judge(Try(0, command, kind, "state", storm), world, zygote)
    judge.judge()
    assert judge.done is not None
    assert judge.done.returncode == code, judge.done
    if code == 3:
        assert "Aborted: " in judge.done.stderr or "Error: " in judge.done.stderr
        assert re.search("No space left on device|disk is full", judge.done.stderr)
    assert not judge.findings, pformat(judge.describe())
