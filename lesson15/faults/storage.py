"""Faults of disks and of the index: around the file system and the vector store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lesson15.checkpoint.filesystem import AppendFile, FileSystem
from lesson15.faults.effects import Effects
from lesson15.faults.injector import Fault, FaultInjector
from lesson15.faults.points import FaultKind, FaultPoint
from lesson15.stores import VectorStore
from lesson15.stores.base import Rows, Vectors

_PARTIAL = {FaultKind.TORN_WRITE, FaultKind.DISK_FULL}


class FaultyFileSystem:
    """A disk that fills up, fails, tears and flips, and whose fsync may lie.

    What an fsync lied about stays readable, as it does in the page cache, until an injected kill:
    then files go back to the length, and names to the file, that was last made durable. A kill
    from outside leaves the page cache alone, here as everywhere.
    """

    def __init__(self, inner: FileSystem, injector: FaultInjector, effects: Effects) -> None:
        self._inner = inner
        self._injector = injector
        self._effects = effects
        self._lengths: dict[Path, int] = {}
        self._renames: list[tuple[Path, bytes | None]] = []
        self._lost_renames: list[tuple[Path, bytes | None]] = []
        effects.before_death.append(self._lose)

    def make_folder(self, path: Path) -> None:
        """As the file system's own."""
        self._inner.make_folder(path)

    def truncate(self, path: Path, size: int) -> None:
        """As the file system's own."""
        self._inner.truncate(path, size)

    def open_append(self, path: Path) -> AppendFile:
        """A file whose writes and fsyncs may fail."""
        size = path.stat().st_size if path.exists() else 0
        return _FaultyFile(self, self._inner.open_append(path), path, size)

    def create(self, path: Path) -> AppendFile:
        """A new file whose writes and fsyncs may fail."""
        return _FaultyFile(self, self._inner.create(path), path, 0)

    def rename(self, source: Path, target: Path) -> None:
        """Rename, or fail to."""
        self._effects.carry_out(self._injector.decide(FaultPoint.RENAME, target.name))
        self._renames.append((target, target.read_bytes() if target.exists() else None))
        self._inner.rename(source, target)
        if source in self._lengths:
            self._lengths[target] = self._lengths.pop(source)

    def fsync_folder(self, path: Path) -> None:
        """Make the renames in ``path`` durable, fail to, or say so and do not."""
        faults = self._injector.decide(FaultPoint.FSYNC, "folder")
        self._effects.carry_out(faults)
        if _lies(faults):
            self._lost_renames += self._renames
        else:
            self._inner.fsync_folder(path)
            self._lost_renames.clear()  # what an earlier one left out, this one makes durable
        self._renames.clear()

    def write(self, file: AppendFile, name: str, data: bytes) -> None:
        """Write ``data``, a part of it, or something a bit different."""
        faults = self._injector.decide(FaultPoint.CHECKPOINT_WRITE, name)
        for fault in faults:
            if fault.kind is FaultKind.BIT_FLIP:
                data = _flip(data, fault.draw)
        partial = [fault.draw for fault in faults if fault.kind in _PARTIAL]
        if partial:
            file.write(data[: int(min(partial) * len(data))])
        self._effects.carry_out(faults)
        file.write(data)

    def fsync(self, file: AppendFile, path: Path, durable: int) -> bool:
        """Make ``file`` durable, fail to, or say so and do not (False).

        ``durable`` is the length up to which it was before.
        """
        faults = self._injector.decide(FaultPoint.FSYNC, _name(path))
        self._effects.carry_out(faults)
        if _lies(faults):
            self._lengths[path] = durable
            return False
        file.fsync()
        self._lengths.pop(path, None)
        return True

    def _lose(self) -> None:
        """Undo what was never made durable, as the end of the machine would."""
        for path, size in self._lengths.items():
            os.truncate(path, size)
        for path, content in reversed(self._lost_renames):
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)


class _FaultyFile:
    """A file, and how much of it is durable for certain."""

    def __init__(self, fs: FaultyFileSystem, file: AppendFile, path: Path, size: int) -> None:
        self._fs = fs
        self._file = file
        self._path = path
        self._size = self._durable = size

    def write(self, data: bytes) -> None:
        self._fs.write(self._file, _name(self._path), data)
        self._size += len(data)

    def fsync(self) -> None:
        if self._fs.fsync(self._file, self._path, self._durable):
            self._durable = self._size

    def close(self) -> None:
        self._file.close()


def _name(path: Path) -> str:
    """A temporary file goes by the name that it is going to have."""
    return path.name.removesuffix(".tmp")


def _lies(faults: Sequence[Fault]) -> bool:
    return any(fault.kind is FaultKind.UNFLUSHED_WRITE for fault in faults)


def _flip(data: bytes, draw: float) -> bytes:
    place, bit = divmod(int(draw * len(data) * 8), 8)
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


class FaultyStore:
    """A vector store whose ``add``, ``remove`` and ``save`` may fail."""

    def __init__(self, store: VectorStore, injector: FaultInjector, effects: Effects) -> None:
        self._store = store
        self._injector = injector
        self._effects = effects
        self.rows = store.rows
        self.get = store.get
        self.search = store.search
        self.clear = store.clear
        self.load = store.load
        self.close = store.close

    def _before(self, operation: str) -> None:
        self._effects.carry_out(self._injector.decide(FaultPoint.INDEX, operation))

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """As the store's own."""
        self._before("add")
        self._store.add(rows, vectors)

    def remove(self, rows: Rows) -> None:
        """As the store's own."""
        if len(rows):
            self._before("remove")
        self._store.remove(rows)

    def save(self, tag: str) -> None:
        """As the store's own."""
        self._before("save")
        self._store.save(tag)
