"""Bugs of the engine that universes found, each in a test of its own, too."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from lesson15.checkpoint import CheckpointManager
from lesson15.checkpoint.filesystem import AppendFile, OsFileSystem
from lesson15.engine.processor import BatchProcessor
from lesson15.engine.writer import Writer
from lesson15.events import DocSettled, Paused
from lesson15.models import DocStatus


class HeldDisk(OsFileSystem):
    """Makes nothing durable before it is let go."""

    def __init__(self) -> None:
        self.is_free = threading.Event()
        self.is_free.set()

    def fsync_folder(self, path: Path) -> None:
        assert self.is_free.wait(60)
        super().fsync_folder(path)


async def test_a_pause_begins_no_third_commit(tmp_path: Path) -> None:
    disk = HeldDisk()
    processor = BatchProcessor(1, 1, state_dir=tmp_path, embedder="hashing", fs=disk)
    batch = processor.create("b", [])
    writer = Writer(batch, disk, 1)
    disk.is_free.clear()

    def settle(name: str) -> asyncio.Task[DocSettled]:
        return asyncio.create_task(writer.settle(DocSettled(doc_id=name, status=DocStatus.DONE)))

    await asyncio.gather(settle("one"), settle("two"))  # a commit each
    writer.append(Paused(0.0))
    waiting = {asyncio.create_task(writer.commit()), *map(settle, ("three", "four", "five"))}
    await asyncio.sleep(0.05)
    assert len(writer._commits) == 2
    assert writer.state.processed_docs == 2
    disk.is_free.set()
    await asyncio.gather(*waiting)
    await writer.commit()
    await writer.aclose()
    assert CheckpointManager(tmp_path).open("b").state.processed_docs == 5


class Noting(OsFileSystem):
    """Notes what is done to it."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Path]] = []

    def open_append(self, path: Path) -> AppendFile:
        self.done.append(("open", path))
        return super().open_append(path)

    def fsync_folder(self, path: Path) -> None:
        self.done.append(("flush", path))
        super().fsync_folder(path)


async def test_a_commit_is_durable_before_anything_is_built_on_it(tmp_path: Path) -> None:
    """Its process may have died after it renamed the checkpoint and before it flushed the folder:
    a power cut would undo what the next one had reported to be finished.
    """
    batch = BatchProcessor(1, 1, state_dir=tmp_path, embedder="hashing").create("b", [])
    disk = Noting()
    writer = Writer(batch, disk, 1)
    await writer.aclose()
    assert disk.done[0] == ("flush", batch.folder.root)
