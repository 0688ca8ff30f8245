"""Any sequence of runs, crashes, kills, cancels, retries and changed files: a resume that is let
through brings the batch to what the oracle says of the files as they are.

``LESSON15_CRASH_EXAMPLES=2000 pytest tests/crash/test_state_machine.py`` looks further, at random.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from lesson15.crashlab.disk import Content, Crash
from lesson15.engine.verify import verify
from lesson15.engine.writer import Writer
from tests.crash import oracle
from tests.crash.conftest import make_memory_folder
from tests.crash.engine import BATCH, EMBEDDER, InlineProcessor, drive
from tests.crash.recovery_check import (
    check_finished,
    check_recovered,
    derived_choices,
    put,
    resume_and_check,
)
from tests.crash.scenarios import Lab

FILES = st.sampled_from(["a.txt", "b.txt", "c.json", "d.json", "long.txt"])
INTERVALS = st.sampled_from([1, 2, 5])
OPERATIONS = st.integers(0, 60)
FATES = st.integers(0, 10**6)


class BatchMachine(RuleBasedStateMachine):
    """One batch and its folder of documents, in which ``d0.txt`` to ``d4.txt`` never change."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.WARNING)
        self.folder = make_memory_folder()
        self.lab = Lab(self.folder)
        self.writes = 0

    def teardown(self) -> None:
        try:
            self.resume_to_the_end(3)
        finally:
            logging.disable(logging.NOTSET)
            shutil.rmtree(self.folder)

    # --- documents ------------------------------------------------------------------------------

    @rule(name=FILES)
    def write_good(self, name: str) -> None:
        self.writes += 1  # no two versions have one size: times alone are too coarse to differ
        words = " ".join(f"word{number}" for number in range(self.writes))
        self.lab.write(name, f'["{words}"]')

    @rule(name=FILES)
    def write_bad(self, name: str) -> None:
        self.lab.write(name, "" if name.endswith(".txt") else "{" * (self.writes + 1))

    @rule(name=FILES)
    def delete(self, name: str) -> None:
        (self.lab.docs / name).unlink(missing_ok=True)

    @rule()
    def touch(self) -> None:
        os.utime(self.lab.docs / "d0.txt")

    # --- the batch ------------------------------------------------------------------------------

    def is_there(self) -> bool:
        return (self.lab.state / BATCH / "checkpoint.json").exists()

    def processor(self, interval: int) -> InlineProcessor:
        recorder = self.lab.recorder

        def look(writer: Writer) -> None:
            assert check_recovered(writer, recorder.history) >= recorder.promised
            recorder.watch(writer)

        return InlineProcessor(self.lab.state, interval, recorder, look)

    def work(self, processor: InlineProcessor) -> Any:
        return processor.process_batch([self.lab.docs], BATCH, resume=self.is_there())

    @rule(interval=INTERVALS)
    def resume_to_the_end(self, interval: int) -> None:
        drive(self.work(self.processor(interval)))
        check_finished(self.lab.state, self.lab.docs, oracle.sequential(self.lab.docs, EMBEDDER))

    @precondition(is_there)
    @rule(interval=INTERVALS)
    def retry_failed(self, interval: int) -> None:
        drive(self.processor(interval).retry_failed(BATCH))
        assert verify(BATCH, self.lab.state).is_clean

    @rule(interval=INTERVALS, settled=st.integers(1, 8))
    def cancel(self, interval: int, settled: int) -> None:
        processor = self.processor(interval)
        seen: list[object] = []

        def count(event: object) -> None:
            seen.append(event)
            if len(seen) == settled:
                processor.cancel()

        processor.listeners.append(count)
        drive(self.work(processor))
        assert verify(BATCH, self.lab.state).is_clean

    @rule(interval=INTERVALS, at=OPERATIONS, fate=FATES)
    def power_cut(self, interval: int, at: int, fate: int) -> None:
        self.interrupt(self.work, interval, at, lambda: self.some_disk(fate))

    @precondition(is_there)
    @rule(interval=INTERVALS, at=OPERATIONS, fate=FATES)
    def power_cut_during_retry(self, interval: int, at: int, fate: int) -> None:
        work = lambda processor: processor.retry_failed(BATCH)  # noqa: E731 - as a rule's argument
        self.interrupt(work, interval, at, lambda: self.some_disk(fate))

    @rule(interval=INTERVALS, at=OPERATIONS)
    def kill(self, interval: int, at: int) -> None:
        """The process dies; what it wrote is there and may still be lost in a later power cut."""
        self.interrupt(self.work, interval, at, lambda: None)

    def interrupt(
        self,
        work: Callable[[InlineProcessor], Any],
        interval: int,
        at: int,
        aftermath: Callable[[], Content | None],
    ) -> None:
        recorder = self.lab.recorder
        recorder.stop_at(at)
        try:
            drive(work(self.processor(interval)))
        except Crash:
            content = aftermath()
            if content is not None:
                recorder.disk.load(content)
            seen = {name: inode.content for name, inode in recorder.disk.names.items()}
            choices = derived_choices(recorder.snapshots)
            put({**choices[at % len(choices)], **seen}, self.lab.state / BATCH)
        finally:
            recorder.stop_at(None)
            recorder.moments.clear()

    def some_disk(self, fate: int) -> Content:
        """One of the disks that a power cut may leave now."""
        outcomes = [content for _, content in self.lab.recorder.disk.outcomes(stride=16)]
        return outcomes[fate % len(outcomes)]

    @precondition(is_there)
    @rule()
    def resume_a_copy(self) -> None:
        """A resume redoes nothing that was committed, wherever the batch stands."""
        copy = self.folder / "copy"
        shutil.copytree(self.lab.state, copy)
        recorder = self.lab.recorder
        expected = oracle.sequential(self.lab.docs, EMBEDDER)
        assert resume_and_check(copy, self.lab.docs, recorder, expected) >= recorder.promised
        shutil.rmtree(copy)


MORE = os.environ.get("LESSON15_CRASH_EXAMPLES")
TestBatchMachine = BatchMachine.TestCase
TestBatchMachine.settings = settings(
    max_examples=int(MORE or 100),
    phases=[Phase.generate],  # shrinking takes minutes, and 25 steps can be read
    stateful_step_count=25,
    derandomize=MORE is None,  # the same sequences each time, but for the long search
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
