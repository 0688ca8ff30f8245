"""Every durable operation goes through this port, so that tests can tear, lose and fail writes.

The protocol is what crash consistency depends on and no more: append, fsync, rename, fsync of the
folder, truncate. :func:`replace_file` and :class:`AppendOnlyFile` put these primitives in the order
that survives a power cut. Reading needs no port: recovery reads what the crash left.

Source for the order of calls: Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lesson15.plugins import Group, check_name, load

WRITE_BYTES = 4 * 1024 * 1024
"""How much is written at once, about."""


class AppendFile(Protocol):
    """A file open for appending."""

    def write(self, data: bytes) -> None:
        """Append ``data``; it may be lost in a crash until :meth:`fsync` returns."""
        ...

    def fsync(self) -> None:
        """Make everything written so far survive a power cut."""
        ...

    def close(self) -> None:
        """Release the file without making anything durable."""
        ...


class FileSystem(Protocol):
    """The operations a checkpoint is made of; each raises OSError when the system refuses."""

    def make_folder(self, path: Path) -> None:
        """Create ``path`` and its parents, durably."""
        ...

    def open_append(self, path: Path) -> AppendFile:
        """Open ``path`` for appending, creating it if need be."""
        ...

    def create(self, path: Path) -> AppendFile:
        """Open ``path`` as a new, empty file, whatever was there before."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Give ``source`` the name ``target``, which whatever had it loses, in one step."""
        ...

    def fsync_folder(self, path: Path) -> None:
        """Make the creation, renaming and removal of entries of ``path`` durable."""
        ...

    def truncate(self, path: Path, size: int) -> None:
        """Cut ``path`` to ``size`` bytes, durably."""
        ...


def replace_file(fs: FileSystem, path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``, durably: a reader sees the old bytes or the new, whole.

    Raises:
        OSError: the system refused; the old bytes stay.
    """
    temporary = path.with_name(path.name + ".tmp")
    file = fs.create(temporary)
    try:
        file.write(data)
        file.fsync()
    finally:
        file.close()
    fs.rename(temporary, path)
    fs.fsync_folder(path.parent)


class AppendOnlyFile:
    """The file at ``path``, open for appending after byte ``start``; its name is durable.

    What is appended waits in memory until it is taken and written. These are two calls, so that one
    thread can append while another writes and flushes what was appended before.

    Attributes:
        offset: its length in bytes, with what waits.
        waiting_bytes: how many bytes wait.

    Raises:
        OSError: the system refused.
    """

    def __init__(self, fs: FileSystem, path: Path, start: int) -> None:
        is_new = not path.exists()
        self._file = fs.open_append(path)
        if is_new:
            fs.fsync_folder(path.parent)
        self._waiting: list[bytes] = []
        self.offset = start
        self.waiting_bytes = 0

    def add(self, data: bytes) -> None:
        """Append ``data``, in memory."""
        self._waiting.append(data)
        self.waiting_bytes += len(data)
        self.offset += len(data)

    def take(self) -> list[bytes]:
        """What was appended since the last call; the parts must be written in this order."""
        parts, self._waiting = self._waiting, []
        self.waiting_bytes = 0
        return parts

    def write(self, parts: Sequence[bytes]) -> None:
        """Write what :meth:`take` gave, and make it durable; raises OSError."""
        if not parts:
            return
        start = size = 0
        for number, part in enumerate(parts, 1):
            size += len(part)
            if size >= WRITE_BYTES or number == len(parts):
                self._file.write(b"".join(parts[start:number]))
                start, size = number, 0
        self._file.fsync()

    def close(self) -> None:
        """Close the file; what was not written is dropped."""
        self._file.close()


class _OsAppendFile:
    def __init__(self, path: Path, flags: int) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:  # a write may be short on a nearly full disk
            view = view[os.write(self._descriptor, view) :]

    def fsync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class OsFileSystem:
    """The real file system."""

    def make_folder(self, path: Path) -> None:
        """Create ``path`` and its parents, durably."""
        if path.is_dir():
            return
        self.make_folder(path.parent)
        path.mkdir(exist_ok=True)
        self.fsync_folder(path.parent)

    def open_append(self, path: Path) -> AppendFile:
        """Open ``path`` for appending, creating it if need be."""
        return _OsAppendFile(path, os.O_APPEND)

    def create(self, path: Path) -> AppendFile:
        """Open ``path`` as a new, empty file, whatever was there before."""
        try:
            return _OsAppendFile(path, os.O_EXCL)
        except FileExistsError:
            path.unlink(missing_ok=True)  # left by a crash, or a link to somewhere else
            return _OsAppendFile(path, os.O_EXCL)

    def rename(self, source: Path, target: Path) -> None:
        """Give ``source`` the name ``target``, in one step."""
        source.replace(target)

    def truncate(self, path: Path, size: int) -> None:
        """Cut ``path`` to ``size`` bytes, durably."""
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def fsync_folder(self, path: Path) -> None:
        """Make the entries of ``path`` durable; systems that cannot open a folder do so anyway."""
        if os.name == "nt":  # pragma: no cover - Windows has no such call
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def open_file_system(name: str) -> FileSystem:
    """The checkpoint backend called ``name`` ("os" or a plugin's).

    Raises:
        UnknownNameError: there is none.
        PluginError: the plugin is broken.
    """
    if name == "os":
        return OsFileSystem()
    check_name(Group.CHECKPOINT_BACKENDS, name, ("os",))
    backend: FileSystem = load(Group.CHECKPOINT_BACKENDS, name)()
    return backend
