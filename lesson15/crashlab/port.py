"""The engine's file-system port over the model of a disk: for engines that write through a port."""

from __future__ import annotations

from pathlib import Path

from lesson15.checkpoint.filesystem import AppendFile, FileSystem, OsFileSystem
from lesson15.crashlab.disk import Crash, Disk, Inode, NameChange


class RecordedFile:
    def __init__(self, fs: RecordingFileSystem, inode: Inode, file: AppendFile) -> None:
        self._fs = fs
        self._inode = inode
        self._file = file

    def write(self, data: bytes) -> None:
        self._fs.step()
        self._file.write(data)
        self._inode.pending.append(data)

    def fsync(self) -> None:
        self._fs.step()
        self._inode.durable, self._inode.pending = self._inode.content, []

    def close(self) -> None:
        self._file.close()


class RecordingFileSystem(FileSystem):
    """Works on the real disk and keeps the model of it; ``before_step`` is called with each
    operation about to be done.

    Files are known by their name: one folder is recorded.
    """

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.stop_at(None)
        self._os = OsFileSystem()

    def step(self) -> None:
        if self.operations == self._crash_at:
            raise Crash
        self.operations += 1
        self.before_step()

    def stop_at(self, operation: int | None) -> None:
        """Let the power go before ``operation``, counted from here; None: not at all."""
        self.operations, self._crash_at = 0, operation

    def before_step(self) -> None:
        """For those who look at the disk before each operation."""

    def make_folder(self, path: Path) -> None:
        self._os.make_folder(path)

    def open_append(self, path: Path) -> AppendFile:
        if path.name not in self.disk.names:
            self.step()
            self.disk.change(NameChange(path.name, Inode()))
        return RecordedFile(self, self.disk.names[path.name], self._os.open_append(path))

    def create(self, path: Path) -> AppendFile:
        self.step()
        self.disk.change(NameChange(path.name, Inode()))
        return RecordedFile(self, self.disk.names[path.name], self._os.create(path))

    def rename(self, source: Path, target: Path) -> None:
        self.step()
        self._os.rename(source, target)
        inode = self.disk.names[source.name]
        self.disk.change(NameChange(target.name, inode, source.name))

    def fsync_folder(self, path: Path) -> None:
        self.step()
        self.disk.fsync_folder()

    def truncate(self, path: Path, size: int) -> None:
        self.step()
        self._os.truncate(path, size)
        inode = self.disk.names[path.name]
        inode.durable, inode.pending = inode.content[:size], []
