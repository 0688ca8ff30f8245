"""Batches whose every crash is looked into: each ends with the trace of its last run recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lesson15.checkpoint import filesystem
from lesson15.crashlab.disk import Crash
from lesson15.events import DocSettled, Event
from tests.crash.engine import BATCH, InlineProcessor, Recorder, drive
from tests.crash.recovery_check import put


class Lab:
    """Documents, and a batch over them in a folder whose disk is recorded."""

    def __init__(self, folder: Path) -> None:
        self.docs = folder / "docs"
        self.state = folder / "state"
        self.docs.mkdir(parents=True)
        for number in range(5):
            self.write(f"d{number}.txt", f"Document {number} tells of subject {number * 37}. ")
        self.write("long.txt", "A text of two chunks, with a number of words in it. " * 20)
        self.write("bad.json", '{"a": [1, }')
        self.recorder = Recorder(self.state / BATCH)

    def write(self, name: str, text: str) -> None:
        (self.docs / name).write_text(text, encoding="utf-8")

    def processor(self, interval: int) -> InlineProcessor:
        return InlineProcessor(
            self.state, interval, self.recorder, lambda writer: self.recorder.watch(writer)
        )

    def run(self, interval: int) -> dict[str, Any]:
        """Run the batch, or go on with it, and record only that."""
        self.recorder.moments.clear()
        is_there = (self.state / BATCH / "checkpoint.json").exists()
        work = self.processor(interval).process_batch([self.docs], BATCH, resume=is_there)
        return drive(work)

    def crash(self, at: int, interval: int) -> None:
        """Run until the power goes, before operation ``at``."""
        self.recorder.stop_at(at)
        with pytest.raises(Crash):
            self.run(interval)
        self.recorder.stop_at(None)


def first_run(lab: Lab, interval: int) -> None:
    lab.run(interval)


def changed_files(lab: Lab, interval: int) -> None:
    lab.run(3)
    lab.write("d1.txt", "Now of volcanoes and of much else. ")
    lab.write("long.txt", "Short after all.")
    lab.write("bad.json", '{"a": "good now"}')
    lab.write("d2.json", "{")
    (lab.docs / "d2.txt").unlink()
    (lab.docs / "d3.txt").unlink()
    lab.write("new.txt", "Words that were not there. ")
    lab.run(interval)


def retry_failed(lab: Lab, interval: int) -> None:
    lab.write("bad2.json", "[")
    lab.write("bad3.json", "[1")
    lab.run(3)
    lab.write("bad.json", '{"a": "good now"}')
    lab.write("bad2.json", '["and this one"]')
    lab.recorder.moments.clear()
    drive(lab.processor(interval).retry_failed(BATCH))


def cancelled(lab: Lab, interval: int) -> None:
    processor = lab.processor(interval)
    settled = []

    def count(event: Event) -> None:
        if isinstance(event, DocSettled):
            settled.append(event)
            if len(settled) == 5:
                processor.cancel()

    processor.listeners.append(count)
    report = drive(processor.process_batch([lab.docs], BATCH))
    assert report["status"] == "cancelled"


def crashed_before(lab: Lab, interval: int) -> None:
    """The run goes on from a crash that left tails of journal and segment beyond the commit."""
    lab.crash(30, 3)
    disk = lab.recorder.disk
    tails = next(content for _, content in disk.outcomes())  # everything written is kept
    put(tails, lab.state / BATCH)
    disk.load(tails)
    lab.run(interval)


def killed_before(lab: Lab, interval: int) -> None:
    """The run goes on from a kill of the process: what it wrote is seen, and still not flushed."""
    lab.crash(30, 3)
    lab.run(interval)


def split_writes(lab: Lab, interval: int) -> None:
    """The segment goes out in many writes before one fsync."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filesystem, "WRITE_BYTES", 1)
        lab.run(interval)


SCENARIOS: list[tuple[Callable[[Lab, int], None], int]] = [
    (first_run, 1),
    (first_run, 3),
    (changed_files, 1),
    (changed_files, 3),
    (retry_failed, 1),
    (cancelled, 3),
    (crashed_before, 3),
    (killed_before, 1),
    (split_writes, 3),
]
"""With the checkpoint interval of the recorded run."""
