"""Records what ``mini.py`` does to the disk, call by call, in the model of ``lesson15/crashlab/disk.py``.

The source of ``mini.py`` is loaded as a module of its own whose ``os`` and ``open`` are those of a
recorder. They do what was asked, and note it in the model. An operation that the model does not
know does not exist here, so that none goes past it.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from lesson15 import mini
from lesson15.crashlab.disk import Content, Crash, Disk, Inode, NameChange

SOURCE = Path(mini.__file__).read_text(encoding="utf-8")


@dataclass(eq=False)
class CutInode(Inode):
    """An inode that may be cut: until it is fsynced, what was cut off may come back."""

    uncut: bytes = b""

    def cut(self, size: int) -> None:
        content, flushed = self.content, len(self.durable)
        self.uncut = max(self.uncut, content, key=len)
        self.durable = self.durable[:size]
        self.pending = [content[flushed:size]] if size > flushed else []

    def flush(self) -> None:
        self.durable, self.pending, self.uncut = self.content, [], b""

    def coarse(self) -> list[bytes]:
        outcomes = super().coarse()
        return outcomes + [data + self.uncut[len(data) :] for data in outcomes if self.uncut]

    def fine(self, stride: int) -> Iterator[bytes]:
        for data in super().fine(stride):
            yield data
            if self.uncut:
                yield data + self.uncut[len(data) :]


@dataclass(frozen=True)
class Moment:
    """The disk before an operation, and the commit that had been promised by then."""

    disk: Disk
    promised: int
    has_lasting_folder: bool

    def outcomes(self, stride: int | None) -> Iterator[Content | None]:
        """Each folder that a power cut may leave now; None: there is no folder."""
        if not self.has_lasting_folder:
            yield None
        for _, content in self.disk.outcomes(stride):
            yield content


@dataclass
class Recorder:
    """The disk of the batch in ``root``, and each moment of the runs over it."""

    root: Path
    disk: Disk = field(default_factory=Disk)
    promised: int = -1
    has_lasting_folder: bool = False
    moments: list[Moment] = field(default_factory=list)
    crash_at: int | None = None
    """The number of operations after which the power goes; None: it does not."""

    def step(self) -> None:
        """Keep this moment; called before each operation."""
        if len(self.moments) == self.crash_at:
            raise Crash
        disk = copy.deepcopy(self.disk)
        self.moments.append(Moment(disk, self.promised, self.has_lasting_folder))

    def start_from(self, content: Content | None) -> None:
        """Start from a disk that came up with ``content``; None: without the folder."""
        self.disk = Disk()
        self.disk.names = {name: CutInode(data) for name, data in (content or {}).items()}
        self.disk.fsync_folder()
        self.has_lasting_folder = content is not None

    def load_mini(self, source: str = SOURCE) -> Any:
        """A module made of ``source``, whose changes of the disk are recorded."""
        module = load_mini(source)
        module.os = RecordingOs(self)
        module.open = module.os.open_file
        return module


def load_mini(source: str = SOURCE) -> Any:
    """A module made of ``source``."""
    module = ModuleType("loaded_mini")
    module.__spec__ = ModuleSpec(module.__name__, importlib.util.find_spec("lesson15").loader)  # type: ignore[union-attr]
    sys.modules[module.__name__] = module  # where dataclasses look for it
    exec(compile(source, mini.__file__, "exec"), module.__dict__)
    return module


class RecordedFile(io.FileIO):
    """A file without a buffer; each call of its own is one of the system."""

    def __init__(self, recorder: Recorder, path: Path, mode: str) -> None:
        self._recorder, names = recorder, recorder.disk.names
        is_new, is_emptied = path.name not in names, mode == "wb"
        if is_new or is_emptied:
            recorder.step()
        super().__init__(path, mode)
        if is_new:
            recorder.disk.change(NameChange(path.name, CutInode()))
        self.inode = names[path.name]
        assert isinstance(self.inode, CutInode)
        if is_emptied and not is_new:
            self.inode.cut(0)

    def write(self, data: Any) -> int:
        self._recorder.step()
        written = super().write(data)
        self.inode.pending.append(bytes(data)[:written])
        return written

    def truncate(self, size: int | None = None) -> int:
        assert size is not None
        self._recorder.step()
        self.inode.cut(size)  # type: ignore[attr-defined]
        return super().truncate(size)


class RecordingOs:
    """What ``mini.py`` may use of ``os``; files are known by their name in the one folder."""

    O_RDONLY = os.O_RDONLY

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._folders: dict[int, Path] = {}

    def open_file(self, path: str | Path, mode: str) -> Any:
        """In the place of the built-in ``open``, with its buffering."""
        if mode == "rb":
            return open(path, mode)  # noqa: PTH123 - stands for open
        return io.BufferedWriter(RecordedFile(self._recorder, Path(path), mode))

    def mkdir(self, path: Path) -> None:
        self._recorder.step()
        path.mkdir()

    def replace(self, source: str | Path, target: str | Path) -> None:
        self._recorder.step()
        source, target = Path(source), Path(target)
        source.replace(target)
        inode = self._recorder.disk.names[source.name]
        self._recorder.disk.change(NameChange(target.name, inode, source.name))

    def open(self, path: Path, flags: int) -> int:
        descriptor = os.open(path, flags)
        self._folders[descriptor] = path
        return descriptor

    def close(self, descriptor: int) -> None:
        del self._folders[descriptor]
        os.close(descriptor)

    def fsync(self, target: int | io.BufferedWriter) -> None:
        recorder = self._recorder
        recorder.step()
        os.fsync(target)
        if isinstance(target, io.BufferedWriter):
            assert isinstance(target.raw, RecordedFile)
            target.raw.inode.flush()  # type: ignore[attr-defined]
        elif self._folders[target] == recorder.root:
            recorder.disk.fsync_folder()
        else:
            assert self._folders[target] == recorder.root.parent
            recorder.has_lasting_folder = True
