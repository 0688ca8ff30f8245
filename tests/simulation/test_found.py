"""Bugs of the engine that universes found, each in a test of its own, too."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from lesson15.checkpoint import CheckpointManager
from lesson15.checkpoint.filesystem import OsFileSystem
from lesson15.engine.processor import BatchProcessor
from lesson15.engine.writer import Writer
from lesson15.events import DocSettled, Paused
from lesson15.models import DocStatus
from lesson15.simulation import load, run_universe
from tests.simulation.bugs import BUGS

PAUSE = Path(__file__).parent / "found" / "pause.json"


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


def test_the_universe_that_showed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_universe(*load(PAUSE)).violation is None
    BUGS["a pause begins a third commit"](monkeypatch)
    assert "wait for a commit" in str(run_universe(*load(PAUSE)).violation)
