from __future__ import annotations

import logging
import time

import pytest

from lesson15 import ProgressInfo, ProgressTracker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_counts_rate_and_eta() -> None:
    clock = Clock()
    tracker = ProgressTracker(10, "b", clock)
    seen: list[ProgressInfo] = []
    tracker.callbacks.append(seen.append)
    assert abs(tracker.start_time - time.time()) < 60
    assert (tracker.eta_seconds, tracker.get_eta()) == (None, "unknown")
    for number in range(5):
        clock.now += 2
        await tracker.update_progress(number != 3, f"d{number}")
    assert (tracker.completed_items, tracker.failed_items) == (4, 1)
    assert tracker.rate == pytest.approx(0.5)
    assert tracker.eta_seconds == pytest.approx(10)
    assert tracker.get_eta() == "0:00:10"
    assert seen[-1].progress_percent == 50
    assert seen[-1].batch_id == "b"
    for number in range(5):
        await tracker.update_progress(doc_id=f"e{number}")
    assert (tracker.eta_seconds, tracker.get_eta()) == (0, "0:00:00")


async def test_old_speed_is_forgotten() -> None:
    clock = Clock()
    tracker = ProgressTracker(1000, "b", clock)
    for _ in range(100):
        clock.now += 1
        await tracker.update_progress(True, "fast")
    for _ in range(10):
        clock.now += 10
        await tracker.update_progress(True, "slow")
    assert tracker.rate == pytest.approx(0.1, rel=0.4)


async def test_resumed_documents_are_no_speed() -> None:
    clock = Clock()
    tracker = ProgressTracker(100, "b", clock)
    tracker.start_from(50, 10)
    clock.now += 10
    await tracker.update_progress(True, "d")
    assert tracker.rate == pytest.approx(0.1)
    assert tracker.info().progress_percent == 61


def test_empty_batch() -> None:
    assert ProgressTracker(0, "b").info().progress_percent == 0


async def test_a_failing_callback_is_removed(caplog: pytest.LogCaptureFixture) -> None:
    tracker = ProgressTracker(2, "b")
    seen: list[ProgressInfo] = []

    def fail(info: ProgressInfo) -> None:
        raise RuntimeError("widget closed")

    tracker.callbacks.extend([fail, seen.append])
    with caplog.at_level(logging.ERROR):
        await tracker.update_progress(True, "a")
        await tracker.update_progress(True, "b")
    assert len(seen) == 2
    assert tracker.callbacks == [seen.append]
    assert "widget closed" in caplog.text
