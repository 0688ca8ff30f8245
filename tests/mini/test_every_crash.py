"""Every crash of ``mini.py``, in the crash model of the engine: what was promised is there after
it, nothing is done or counted twice, and the batch comes to what an undisturbed run does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lesson15.crashlab.contents import digest
from lesson15.crashlab.tracing import traced
from tests.mini.crash_check import (
    SCENARIOS,
    Lab,
    Scenario,
    check_every_crash,
    first_run,
)

STRIDE = int(os.environ.get("LESSON15_MINI_STRIDE", "4"))
"""Bytes between two places where a write is torn; at 1 it takes half a minute longer."""
Property = Callable[[str, object], None]


@pytest.mark.parametrize(
    ("scenario", "commit_every", "fewest"),
    [pytest.param(*case, id=f"{case[0].__name__}-{case[1]}") for case in SCENARIOS],
)
def test_every_crash_recovers(
    memory_folder: Path,
    scenario: Scenario,
    commit_every: int,
    fewest: int,
    record_property: Property,
) -> None:
    lab = Lab(memory_folder)
    scenario(lab, commit_every)
    tally = check_every_crash(lab, STRIDE)
    record_property("mini_crash_states", (tally.states, tally.distinct))
    assert tally.distinct >= fewest


def test_every_crash_of_every_recovery(memory_folder: Path, record_property: Property) -> None:
    """The power goes during a first run, and once more during the run that goes on from there."""
    lab = Lab(memory_folder)
    first_run(lab, 1)
    history, moments = list(lab.history), list(lab.recorder.moments)
    promised = {
        digest(content): (
            content,
            lab.promised_at(moment),
        )  # of the same disks the last promise counts
        for moment in moments
        for _, content in moment.disk.outcomes(stride=40)
    }
    states = distinct = 0
    with traced(lab.recorder):
        for content, promise in promised.values():
            lab.start_from(content)
            lab.history, lab.recorder.promised[:] = list(history), [promise]
            lab.run(3)
            tally = check_every_crash(lab)
            states, distinct = states + tally.states, distinct + tally.distinct
    record_property("mini_crash_states", (states, distinct))
    assert len(promised) >= 100
    assert distinct >= 1000


def test_every_kill_before_every_crash(memory_folder: Path, record_property: Property) -> None:
    """The process is killed at each operation; the next run, begun before the system has flushed
    anything, is cut off by the power.
    """
    (memory_folder / "whole").mkdir()
    whole = Lab(memory_folder / "whole")
    first_run(whole, 2)
    operations = len(whole.recorder.moments) - 1
    states = distinct = 0
    for killed_at in range(operations):
        folder = memory_folder / str(killed_at)
        folder.mkdir()
        lab = Lab(folder)
        lab.run(2, crash_at=killed_at)
        lab.run(2)
        tally = check_every_crash(lab, stride=20)
        states, distinct = states + tally.states, distinct + tally.distinct
    record_property("mini_crash_states", (states, distinct))
    assert operations > 20
    assert distinct >= 1000
