"""What a disk may hold after a power cut, by the abstract persistence model of ALICE.

A run is recorded as a trace of file-system operations. After any prefix of it the power may go, and
of what was not fsynced by then each part survives or not, on its own (Pillai et al., "All File
Systems Are Not Created Equal", OSDI 2014, section 3.1):

- a write is kept, lost, or torn at a byte; behind the tear the file ends, or goes on with zeros
  or with garbage, as where its size reached the disk before its data;
- a later write may survive where an earlier one of the same file did not (a hole of zeros);
- each creation and renaming in a folder that was not fsynced is kept or lost on its own, and a
  name may survive without the bytes of its file, or the bytes without the name;
- files are independent of each other.

Renaming is one step, and an operation that is durable by contract (make_folder, truncate) is
either before the crash or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

Content = dict[str, bytes]
"""The files of one folder: name -> bytes."""

_GARBAGE = b"\xa5stale block of another file\n"


class Crash(BaseException):
    """The power goes. Not an Exception, so that nothing of the engine handles it."""


@dataclass(eq=False)
class Inode:
    """A file's bytes that are sure to survive, and the writes since."""

    durable: bytes = b""
    pending: list[bytes] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        """The bytes as programs see them."""
        return self.durable + b"".join(self.pending)

    def coarse(self) -> list[bytes]:
        """Kept, lost, or there by size alone."""
        if not self.pending:
            return [self.durable]
        return [self.content, self.durable, self.durable + bytes(len(b"".join(self.pending)))]

    def fine(self, stride: int) -> Iterator[bytes]:
        """Each pending write torn, or missing under a later one."""
        for number, data in enumerate(self.pending):
            before = self.durable + b"".join(self.pending[:number])
            after = b"".join(self.pending[number + 1 :])
            yield before + bytes(len(data)) + after
            for tear in _tears(data, stride):
                part, rest = before + data[:tear], len(data) - tear
                yield part
                yield part + bytes(rest)
                yield part + (_GARBAGE * (rest // len(_GARBAGE) + 1))[:rest]


def _tears(data: bytes, stride: int) -> list[int]:
    """Where to tear: at every ``stride`` bytes, and around each line end and the data's ends."""
    ends = [at + 1 for at, byte in enumerate(data) if byte == 0x0A]
    near = {at + shift for at in (0, len(data), *ends) for shift in (-1, 0, 1)}
    return sorted(at for at in near | set(range(0, len(data), stride)) if 0 < at < len(data))


@dataclass(frozen=True)
class NameChange:
    """``target`` is now ``inode``, and ``source``, if any, is gone."""

    target: str
    inode: Inode
    source: str | None = None

    def apply(self, names: dict[str, Inode]) -> None:
        if self.source is not None:
            names.pop(self.source, None)
        names[self.target] = self.inode


class Disk:
    """One folder: what programs see of it, and what is sure to survive."""

    def __init__(self) -> None:
        self.names: dict[str, Inode] = {}
        self._durable_names: dict[str, Inode] = {}
        self._pending_names: list[NameChange] = []

    def change(self, change: NameChange) -> None:
        change.apply(self.names)
        self._pending_names.append(change)

    def fsync_folder(self) -> None:
        self._durable_names = dict(self.names)
        self._pending_names = []

    def load(self, content: Content) -> None:
        """Start from a disk that came up with ``content``."""
        self.names = {name: Inode(data) for name, data in content.items()}
        self.fsync_folder()

    def outcomes(self, stride: int | None = None) -> Iterator[tuple[bool, Content]]:
        """Each disk that a power cut may leave, and whether it is a coarse one.

        The coarse outcomes of all files and names are combined freely; the fine ones (given a
        ``stride``) are taken one file at a time, with everything else kept, and all else lost.
        """
        every_name = list(self._name_maps())
        for names in every_name:
            files = list(names.items())
            for contents in product(*(inode.coarse() for _, inode in files)):
                yield True, {name: data for (name, _), data in zip(files, contents, strict=True)}
        if stride is None:
            return
        for names in every_name:
            for torn, inode in names.items():
                if not inode.pending or torn.endswith(".tmp"):  # what nothing reads
                    continue
                kept = {name: other.content for name, other in names.items()}
                lost = {name: other.durable for name, other in names.items()}
                for data in inode.fine(stride):
                    yield False, {**kept, torn: data}
                    yield False, {**lost, torn: data}

    def _name_maps(self) -> Iterator[dict[str, Inode]]:
        for choice in product((True, False), repeat=len(self._pending_names)):
            names = dict(self._durable_names)
            for is_kept, change in zip(choice, self._pending_names, strict=True):
                if is_kept:
                    change.apply(names)
            yield names
