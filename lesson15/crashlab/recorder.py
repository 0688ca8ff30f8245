"""What the code under test does to one folder: each operation, and the model of the disk before it.

Files and folders are known by their number on the real disk, not by their name or descriptor, so
it does not matter how the code came by them.
"""

from __future__ import annotations

import copy
import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lesson15.crashlab.disk import (
    Content,
    Crash,
    Disk,
    Folder,
    Kind,
    LinkText,
    NameChange,
    Node,
)
from lesson15.crashlab.inode import Inode

Key = tuple[int, int]
Place = tuple[Folder, str]
PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]


@dataclass(frozen=True)
class Operation:
    """A line of the trace: an operation on the disk, or (number 0) what the code said."""

    number: int
    text: str


@dataclass(frozen=True)
class Moment:
    """The disk before an operation: after ``lines`` of the trace, ``said`` of what it promised."""

    disk: Disk
    lines: int
    promised: int
    begun: int


@dataclass
class Recorder:
    """The trace of what is done to ``folder``, while it is active.

    ``promise`` and ``begin`` are for the code under test to call.
    """

    folder: Path
    kind: Kind = "strict"
    trace: list[Operation] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    promised: list[object] = field(default_factory=list)
    begun: list[object] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    crash_at: int | None = None
    """The number of operations after which the power goes; None: it does not."""

    def __post_init__(self) -> None:
        self.disk = Disk(self.kind)
        self.lock = threading.RLock()
        self.is_active = False
        self.is_opening = False
        self.number = 0
        self._nodes: dict[Key, Node] = {}
        self._outside: set[Node] = set()

    # --- for those who run the code ---------------------------------------------------------------

    def load(self) -> None:
        """Start from the folder as it is, all of it sure to survive."""
        self.disk.load(read(self.folder))
        self._nodes = {_key(self.folder.stat()): self.disk.root}
        for path, node in self.disk.nodes().items():
            self._nodes[_key(os.lstat(self.folder / path))] = node

    def restart(self) -> None:
        """Forget what was recorded, but not what is on the disk or what is not flushed yet."""
        self.trace.clear()
        self.moments.clear()
        self.number = 0

    @contextmanager
    def active(self) -> Iterator[None]:
        """Record what is done within, and the disk at its end."""
        self.is_active = True
        try:
            yield
        finally:
            self.is_active = False
        self._keep_moment()
        if self.disk.content() != read(self.folder):
            self.note_unseen("The folder holds something that no traced call has written.")

    def note_unseen(self, what: str) -> None:
        """Something went past the recorder, so that there can be no verdict."""
        if what not in self.unseen:
            self.unseen.append(what)

    def promise(self, value: object = True) -> None:
        """Say that ``value`` is safe now, whatever happens."""
        with self.lock:
            self.promised.append(copy.deepcopy(value))
            self.trace.append(Operation(0, f"promised: {short(value)}"))

    def begin(self, value: object) -> None:
        """Say that from now on ``value`` may be found, though it is not promised yet."""
        with self.lock:
            self.begun.append(copy.deepcopy(value))

    # --- for the calls that stand in the place of the system's ------------------------------------

    def node_of(self, descriptor: int) -> Node | None:
        """The file or folder that is open as ``descriptor``, if it is of the model."""
        try:
            found = os.fstat(descriptor)
        except OSError:
            return None
        node = self._nodes.get(_key(found))
        if isinstance(node, Inode) and found.st_nlink and not self._has_name(node):
            del self._nodes[_key(found)]  # The number has been given to another file.
            return None
        return node

    def _has_name(self, node: Node) -> bool:
        return node in self._outside or any(each is node for each in self.disk.nodes().values())

    def at(self, path: PathLike, dir_fd: int | None = None, *, follow: bool = False) -> Node | None:
        """The file or folder with that path, if it is of the model."""
        try:
            found = os.stat(path, dir_fd=dir_fd, follow_symlinks=follow)
        except OSError:
            return None
        return self._nodes.get(_key(found))

    def place(self, path: PathLike, dir_fd: int | None = None) -> Place | None:
        """The folder and the name that ``path`` is about; None: outside of the recorded folder."""
        text = os.fsdecode(path)
        parent, name = os.path.split(text.rstrip("/"))
        if name in ("", ".", ".."):
            parent, name = os.path.split(os.path.realpath(text))
        folder = self.at(parent or ".", dir_fd, follow=True)
        return (folder, name) if isinstance(folder, Folder) else None

    def know(self, node: Node, key: Key, *, is_outside: bool = False) -> None:
        """``node`` is the file or folder with that number on the real disk."""
        self._nodes[key] = node
        self._outside.discard(node)
        if is_outside:
            self._outside.add(node)

    def step(self) -> None:
        """An operation is about to be done."""
        if self.number == self.crash_at:
            raise Crash
        self._keep_moment()

    def _keep_moment(self) -> None:
        self.moments.append(
            Moment(copy.deepcopy(self.disk), len(self.trace), len(self.promised), len(self.begun))
        )

    def done(self, text: str) -> int:
        """The number of an operation that was done."""
        self.number += 1
        self.trace.append(Operation(self.number, text))
        return self.number

    def is_silent(self, node: Node) -> bool:
        """Whether ``node`` lies outside: it matters only if it is moved into the folder."""
        return node in self._outside

    def path_of(self, node: Node) -> str:
        """The name of ``node`` in the trace."""
        if node is self.disk.root:
            return "the folder"
        paths = (path for path, each in self.disk.nodes().items() if each is node)
        return next(paths, "a file without a name")

    def written(self, node: Inode, data: bytes, offset: int, descriptor: int) -> None:
        """``data`` was written to ``node``, through ``descriptor``."""
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        if self.is_silent(node):
            node.write(data, offset)
            return
        where = "" if offset == len(node.content) else f" at {offset}"
        text = f"write {counted(len(data))}{where} to {self.path_of(node)}: {shown(data)}"
        node.write(data, offset, self.done(text))
        if flags & (os.O_SYNC | os.O_DSYNC):
            self.step()
            self.done(f"fsync {self.path_of(node)} (opened so)")
            self.disk.fsync(node)

    def cut(self, node: Inode, size: int) -> None:
        """``node`` was made ``size`` bytes long."""
        silent = self.is_silent(node)
        number = 0 if silent else self.done(f"cut {self.path_of(node)} to {counted(size)}")
        node.cut(size, number)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """A file is opened within, by a traced call."""
        before, self.is_opening = self.is_opening, True
        try:
            yield
        finally:
            self.is_opening = before

    def named(
        self, text: str, place: Place, node: Node | None, source: Place | None = None
    ) -> None:
        """A name was given, moved or taken away."""
        folder, name = place
        source_folder, source_name = source or (None, None)
        number = self.done(text)
        self.disk.change(NameChange(name, node, source_name, folder, source_folder, number))

    def shown_place(self, place: Place) -> str:
        """The path of a place, in the trace."""
        folder, name = place
        return name if folder is self.disk.root else f"{self.path_of(folder)}/{name}"


def read(folder: Path) -> Content:
    """What ``folder`` holds."""
    content: Content = {}
    for parent, folders, files in os.walk(folder):
        above = Path(parent)
        for name in [*folders, *files]:
            path = above / name
            key = path.relative_to(folder).as_posix()
            if path.is_symlink():
                content[key] = LinkText(os.fsencode(path.readlink()))
            elif path.is_dir():
                content[key + "/"] = b""
            elif stat.S_ISREG(path.stat().st_mode):
                content[key] = path.read_bytes()
    return content


def short(value: object, length: int = 60) -> str:
    """A value as text, cut to ``length`` signs."""
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def counted(size: int) -> str:
    """A number of bytes, in words."""
    return f"{size} byte{'' if size == 1 else 's'}"


def shown(data: bytes, length: int = 40) -> str:
    """Bytes as text, cut to ``length`` signs."""
    text = repr(data.decode("utf-8", "replace")) if _is_text(data) else repr(data)[1:]
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _is_text(data: bytes) -> bool:
    return all(byte >= 0x20 or byte in b"\n\t\r" for byte in data[:200])


def _key(found: os.stat_result) -> Key:
    return found.st_dev, found.st_ino


def key_of(descriptor: int) -> Key:
    """The number on the real disk of what is open as ``descriptor``."""
    return _key(os.fstat(descriptor))
