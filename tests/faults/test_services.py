"""Faults of a service behind the embedder, and of the clock: no document is lost to any of them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lesson15 import CheckpointManager, verify
from lesson15.faults.clock import JumpingClock
from lesson15.settings import Settings
from tests.faults.conftest import Run, rule

QUICK = Settings(retry_delay=0.01, probe_interval=0.1, embed_batch_chunks=1)


def check_nothing_failed(report: dict[str, Any], state: Path) -> None:
    assert report["status"] == "finished"
    assert (report["processed_docs"], report["failed_docs"]) == (10, 2)  # two are bad by themselves
    assert verify("b", state).is_clean


@pytest.mark.parametrize("kind", ["rate_limited", "unavailable", "partial_answer", "slow_network"])
async def test_a_service_in_trouble_costs_no_document(run: Run, state: Path, kind: str) -> None:
    started = time.monotonic()
    report, records, faults = await run(
        rule("embed", kind, seconds=0.3, documents="d[0-9].txt"), settings=QUICK
    )
    check_nothing_failed(report, state)
    assert len(faults) == 10  # each document once: its call is made again, and not its parsing
    assert all(records[f"d{number}.txt"].attempts == 1 for number in range(10))
    if kind != "partial_answer":
        assert time.monotonic() - started >= 0.3


async def test_an_outage_by_a_fault_is_over_when_the_plan_is_cleared(run: Run, state: Path) -> None:
    report, _, faults = await run(
        rule("embed", "unavailable", seconds=1.0, documents="d3.txt", times=1), settings=QUICK
    )
    check_nothing_failed(report, state)
    assert len(faults) == 1


@pytest.mark.parametrize("kind", ["rate_limited", "unavailable"])
async def test_own_work_that_calls_a_service(run: Run, state: Path, kind: str) -> None:
    report, records, _ = await run(
        rule("result", kind, seconds=0.01, documents="d3.txt", times=2), settings=QUICK
    )
    check_nothing_failed(report, state)
    assert records["d3.txt"].attempts == 3


@pytest.mark.parametrize("point", ["result", "checkpoint_write"])
@pytest.mark.parametrize("seconds", [-3 * 86400.0, 3 * 86400.0])
async def test_a_clock_that_jumps_loses_nothing(
    run: Run, state: Path, make: Any, point: str, seconds: float
) -> None:
    before = time.time()
    report, records, faults = await run(
        rule(point, "clock_jump", seconds=seconds, times=1), settings=QUICK, max_concurrent=1
    )
    check_nothing_failed(report, state)
    assert len(faults) == 1
    stamps = [event.at for event in records.values()]
    if point == "result":  # the engine did see it; the write of a checkpoint may be the last thing
        assert max(stamps) - min(stamps) > 86400
    assert before <= time.time() <= before + 3600  # and the process is rid of it
    again = await make().resume_batch("b")
    assert (again["status"], again["processed_docs"]) == ("finished", 10)
    assert CheckpointManager(state).open("b").state.processed_docs == 10


def test_clocks_add_up_and_go_away() -> None:
    def is_off_by(seconds: float) -> bool:
        return abs(time.time() - datetime.now(UTC).timestamp() - seconds) < 60

    one, two = JumpingClock(), JumpingClock()
    one.jump(1000)
    two.jump(-5000)
    assert is_off_by(-4000)
    one.restore()
    assert is_off_by(-5000)
    two.restore()
    two.restore()
    assert is_off_by(0)
