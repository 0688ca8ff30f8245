"""Every crash of every scenario, each recovered by the real engine: nothing committed is lost,
nothing is double, and the batch comes to what the sequential oracle says.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.recovery_check import check_every_crash
from tests.crash.scenarios import SCENARIOS, Lab

STRIDE = 6
"""Bytes between two places where a write is torn."""
FEWEST = (1800, 1800, 1050, 1050, 600, 450, 1250, 1450, 1800)
"""Distinct crash states of each scenario at least; derived files do not count."""


def test_enough_states_are_asked_for() -> None:
    assert sum(FEWEST) > 10_000


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("scenario", "interval", "fewest"),
    [
        pytest.param(scenario, interval, fewest, id=f"{scenario.__name__}-{interval}")
        for (scenario, interval), fewest in zip(SCENARIOS, FEWEST, strict=True)
    ],
)
def test_every_crash_recovers(
    memory_folder: Path,
    scenario: Callable[[Lab, int], None],
    interval: int,
    fewest: int,
    record_property: Callable[[str, object], None],
) -> None:
    lab = Lab(memory_folder)
    scenario(lab, interval)
    tally = check_every_crash(lab.recorder, lab.docs, memory_folder / "scratch", STRIDE)
    record_property("crash_states", (tally.raw, len(tally.recovered), len(tally.primary)))
    assert len(tally.primary) >= fewest
