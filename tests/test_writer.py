"""The writer: how much a crash can undo, whoever asks for commits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from lesson15 import BatchProcessor
from lesson15.checkpoint.filesystem import AppendFile, OsFileSystem
from lesson15.engine.writer import Writer
from lesson15.events import DocSettled, Paused, now
from lesson15.models import DocStatus

Make = Callable[..., BatchProcessor]


class GatedFile:
    """A file whose fsync waits until ``gate`` is open."""

    def __init__(self, file: AppendFile, gate: threading.Event) -> None:
        self._file, self._gate = file, gate
        self.write, self.close = file.write, file.close

    def fsync(self) -> None:
        self._gate.wait()
        self._file.fsync()


class GatedFileSystem(OsFileSystem):
    """A disk that is slow until ``gate`` is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def open_append(self, path: Path) -> AppendFile:
        return GatedFile(super().open_append(path), self.gate)


def settled(name: str) -> DocSettled:
    return DocSettled(doc_id=name, status=DocStatus.DONE, at=now())


async def test_a_commit_of_a_pause_counts_among_those_under_way(make: Make) -> None:
    fs = GatedFileSystem()
    batch = make().create("b", ["docs"])
    writer = Writer(batch, fs, interval=1)
    await writer.settle(settled("1"))
    await writer.settle(settled("2"))
    writer.append(Paused(now()))
    pause = asyncio.create_task(writer.commit())
    third = asyncio.create_task(writer.settle(settled("3")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert writer.state.settled_docs == 2  # else a crash would undo more than two intervals
    fs.gate.set()
    await pause
    await third
    await writer.commit()
    assert writer.files.committed.number == 4
    await writer.aclose()
