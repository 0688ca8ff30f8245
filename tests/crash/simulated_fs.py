"""A file system that crashes: it counts operations, stops at the one asked for, and can then be
materialised with what a disk might hold: everything, only what was fsynced, or a torn part."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path


class Crash(BaseException):
    """The power goes."""


class Fate(StrEnum):
    """What becomes of bytes and names that were written and not fsynced."""

    KEPT = "kept"
    LOST = "lost"
    TORN = "torn"


class SimulatedFile:
    def __init__(self, fs: SimulatedFileSystem, path: Path) -> None:
        self._fs = fs
        self._path = path

    def write(self, data: bytes) -> None:
        self._fs.step()
        self._fs.content[self._path] += data

    def fsync(self) -> None:
        self._fs.step()
        self._fs.durable[self._path] = self._fs.content[self._path]

    def close(self) -> None:
        pass


class SimulatedFileSystem:
    """Content as programs see it, and as the disk is sure to have it."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.content: dict[Path, bytes] = {}
        self.durable: dict[Path, bytes] = {}
        self.operations = 0
        self._crash_at = crash_at

    def step(self) -> None:
        self.operations += 1
        if self.operations == self._crash_at:
            raise Crash

    def make_folder(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def open_append(self, path: Path) -> SimulatedFile:
        self.step()
        if path not in self.content:
            self.content[path] = b""
            self.durable[path] = b""  # the real one fsyncs the folder
        return SimulatedFile(self, path)

    def truncate(self, path: Path, size: int) -> None:
        self.step()
        self.content[path] = self.durable[path] = self.content[path][:size]

    def replace(self, path: Path, data: bytes) -> None:
        self.step()  # write of the temporary file: no effect on `path`
        self.step()  # its fsync
        self.content[path] = data
        self.step()  # the rename happened, its folder is not synced yet
        self.durable[path] = data
        self.step()

    def fsync_folder(self, path: Path) -> None:
        self.step()

    def materialize(self, root: Path, to: Path, fate: Fate) -> None:
        """Write what the disk holds after the crash under ``to``."""
        for path, content in self.content.items():
            durable = self.durable.get(path)
            if fate is Fate.KEPT:
                data: bytes | None = content
            elif fate is Fate.LOST or path.suffix == ".json":  # a rename is atomic, never torn
                data = durable
            else:
                base = durable or b""
                new = content[len(base) :]
                # Half of the new bytes arrive, and the rest of a block reads as zeros.
                data = base + new[: len(new) // 2] + bytes(len(new) - len(new) // 2)
            if data is not None:
                target = to / path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
