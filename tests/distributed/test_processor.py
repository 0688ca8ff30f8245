"""The front door, with a worker in a thread and no broker."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lesson15 import Batch, CheckpointManager
from lesson15.checkpoint.encryption import Keyring
from lesson15.distributed import DistributedProcessor
from lesson15.distributed.worker import ShardWorker
from lesson15.engine.verify import verify
from lesson15.errors import (
    BatchExistsError,
    BatchKeyError,
    BatchNotFoundError,
    SourcesMissingError,
    UsageError,
)
from lesson15.models import ProgressInfo
from lesson15.settings import Settings
from tests.crash import oracle
from tests.distributed.conftest import SETTINGS, FakeQueue


@pytest.fixture
def settings() -> Settings:
    return SETTINGS


@pytest.fixture
def distributed(state: Path, settings: Settings) -> Iterator[Callable[[], DistributedProcessor]]:
    """Makes processors whose queue is worked off by a thread."""
    queue, stopped = FakeQueue(), threading.Event()

    def work() -> None:
        worker = ShardWorker(state, settings)
        while not stopped.wait(0.01):
            while queue.tasks:
                worker.work_on(queue.tasks.pop(0))
        worker.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield lambda: DistributedProcessor(
        max_concurrent=2, state_dir=state, embedder="hashing", settings=settings, queue=queue
    )
    stopped.set()
    thread.join()


async def test_a_batch_with_progress(
    distributed: Callable[[], DistributedProcessor], docs: Path, state: Path
) -> None:
    processor = distributed()
    seen: list[ProgressInfo] = []
    processor.progress_callbacks.append(seen.append)
    report = await processor.process_batch(docs, "b")
    assert (report["processed_docs"], report["failed_docs"], report["status"]) == (
        10, 2, "finished"
    )  # fmt: skip
    assert report["seconds"] > 0
    assert (seen[-1].completed, seen[-1].failed) == (10, 2)
    assert [info.completed for info in seen] == sorted(info.completed for info in seen)
    assert verify("b", state).is_clean
    assert oracle.indexed(state, "b") == oracle.sequential(docs, "hashing")
    with pytest.raises(BatchExistsError):
        await processor.process_batch(docs, "b")
    with pytest.raises(BatchNotFoundError):
        await processor.process_batch(docs, "nosuch", resume=True)
    with pytest.raises(UsageError, match="batch_id"):
        await processor.process_batch(docs, resume=True)


async def test_resume_sees_what_changed_vanished_and_is_new(
    distributed: Callable[[], DistributedProcessor], docs: Path, state: Path
) -> None:
    processor = distributed()
    asyncio.get_running_loop().call_later(0.5, processor.cancel)
    await processor.process_batch(docs, "b")
    (docs / "d0.txt").write_text("Now about something else entirely.", encoding="utf-8")
    (docs / "d1.txt").unlink()
    (docs / "new.txt").write_text("A document that came later.", encoding="utf-8")
    report = await distributed().resume_batch("b")
    assert (report["processed_docs"], report["failed_docs"]) == (10, 2)
    assert verify("b", state).is_clean
    assert oracle.indexed(state, "b") == oracle.sequential(docs, "hashing")


async def test_sources_that_are_missing_are_not_deleted(
    distributed: Callable[[], DistributedProcessor], docs: Path, state: Path
) -> None:
    first = await distributed().process_batch(docs, "b")
    assert (first["run"]["new"], first["run"]["failed"]) == (10, 2)
    docs.rename(docs.with_name("away"))
    with pytest.raises(SourcesMissingError, match="docs is missing"):
        await distributed().resume_batch("b")
    assert verify("b", state).documents == 12
    report = await distributed().resume_batch("b", prune=True)
    assert (report["total_docs"], report["run"]["dropped"]) == (0, 12)
    assert verify("b", state).is_clean


async def test_names_that_are_not_utf8(
    distributed: Callable[[], DistributedProcessor], docs: Path, state: Path
) -> None:
    (Path(os.fsdecode(os.fsencode(docs) + b"/caf\xe9.txt"))).write_text("Coffee and cake.")
    report = await distributed().process_batch(docs, "b")
    assert (report["processed_docs"], report["failed_docs"]) == (11, 2)
    assert verify("b", state).is_clean


@pytest.mark.parametrize("settings", [Settings(retry_delay=0, encryption_key="11" * 32)])
async def test_encrypted_at_rest(
    distributed: Callable[[], DistributedProcessor], docs: Path, state: Path
) -> None:
    report = await distributed().process_batch(docs, "b")
    assert report["processed_docs"] == 10
    assert b"subject" not in (state / "b" / "segment.bin").read_bytes()
    with pytest.raises(BatchKeyError):
        CheckpointManager(state).open("b")
    keys = Keyring.of(Settings(encryption_key="11" * 32))
    batch = Batch.open(state, "b", keys)
    assert batch.state.processed_docs == 10
    assert batch.verify().is_clean
