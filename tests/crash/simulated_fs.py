"""A file system that crashes: it counts operations, stops at the one asked for, and can then be
materialised with what a disk might hold: everything, only what was fsynced, or a torn part."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Crash(BaseException):
    """The power goes."""


class Fate(StrEnum):
    """What becomes of bytes and names that were written and not fsynced."""

    KEPT = "kept"
    LOST = "lost"
    TORN = "torn"


@dataclass(eq=False)
class Inode:
    """The bytes of one file, as programs see them and as the disk is sure to have them."""

    content: bytes = b""
    durable: bytes = b""

    def after(self, fate: Fate) -> bytes:
        if fate is Fate.KEPT:
            return self.content
        new = self.content[len(self.durable) :] if fate is Fate.TORN else b""
        # Half of the new bytes arrive, and the rest of a block reads as zeros.
        return self.durable + new[: len(new) // 2] + bytes(len(new) - len(new) // 2)


class SimulatedFile:
    def __init__(self, fs: SimulatedFileSystem, inode: Inode) -> None:
        self._fs = fs
        self.inode = inode

    def write(self, data: bytes) -> None:
        self._fs.step()
        self.inode.content += data

    def fsync(self) -> None:
        self._fs.step()
        self.inode.durable = self.inode.content

    def close(self) -> None:
        pass


class SimulatedFileSystem:
    """Names as programs see them, and as the disk is sure to have them."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.names: dict[Path, Inode] = {}
        self.durable_names: dict[Path, Inode] = {}
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
        return SimulatedFile(self, self.names.setdefault(path, Inode()))

    def create(self, path: Path) -> SimulatedFile:
        self.step()
        self.names[path] = Inode()
        return SimulatedFile(self, self.names[path])

    def rename(self, source: Path, target: Path) -> None:
        self.step()
        self.names[target] = self.names.pop(source)

    def truncate(self, path: Path, size: int) -> None:
        self.step()
        inode = self.names[path]
        inode.content = inode.durable = inode.content[:size]

    def fsync_folder(self, path: Path) -> None:
        self.step()
        kept = {name: inode for name, inode in self.durable_names.items() if name.parent != path}
        here = {name: inode for name, inode in self.names.items() if name.parent == path}
        self.durable_names = kept | here

    def materialize(self, root: Path, to: Path, fate: Fate) -> None:
        """Write what the disk holds after the crash under ``to``."""
        names = self.durable_names if fate is Fate.LOST else self.names
        for path, inode in names.items():
            target = to / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(inode.after(fate))
