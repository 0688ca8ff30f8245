"""One file of the model: the bytes that are sure to survive, the changes since, and what a power
cut may make of them.

- a write is kept, lost, or torn at a byte; behind the tear the file ends, or goes on with zeros
  or with garbage, as where its size reached the disk before its data;
- a later write may survive where an earlier one did not (a hole of zeros, or the old bytes);
- what was cut off may come back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

BLOCK = 512
"""Bytes that a disk writes in one piece, if any."""
_GARBAGE = b"\xa5stale block of another file\n"


@dataclass(frozen=True)
class Write:
    """``data`` is at ``offset``, by operation ``number``."""

    offset: int
    data: bytes
    number: int = 0

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + len(self.data)


@dataclass(frozen=True)
class Cut:
    """The file is made ``size`` bytes long, by operation ``number``; zeros fill it up."""

    size: int
    number: int = 0


Change = Write | Cut
Fates = tuple[tuple[int, str], ...]
"""What became of each operation that did not survive as it was: its number, and in words."""


class Outcome(NamedTuple):
    """What may be left of a file, and why."""

    data: bytes
    fates: Fates = ()


def apply(data: bytes, changes: Sequence[Change]) -> bytes:
    """``data`` after ``changes``."""
    content = bytearray(data)
    for change in changes:
        if isinstance(change, Cut):
            content = content[: change.size].ljust(change.size, b"\0")
        else:
            content = content.ljust(change.offset, b"\0")
            content[change.offset : change.end] = change.data
    return bytes(content)


def lost(changes: Sequence[Change], how: str = "lost") -> Fates:
    """The fates of ``changes`` that are all gone the same way."""
    return tuple((change.number, how) for change in changes)


@dataclass(eq=False)
class Inode:
    """A file's bytes that are sure to survive, and the changes since."""

    durable: bytes = b""
    pending: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._content: bytes | None = None

    @property
    def content(self) -> bytes:
        """The bytes as programs see them."""
        if self._content is None:
            self._content = apply(self.durable, self.pending)
        return self._content

    def __deepcopy__(self, memo: dict[int, object]) -> Inode:
        """A copy that shares the bytes, and makes the content anew if it is asked for: there is
        one for each moment of a run.
        """
        return type(self)(self.durable, list(self.pending))

    def write(self, data: bytes, offset: int | None = None, number: int = 0) -> None:
        """``data`` is written at ``offset``, or at the end of the file."""
        self._change(Write(len(self.content) if offset is None else offset, data, number))

    def cut(self, size: int, number: int = 0) -> None:
        """The file is cut, or made longer, to ``size`` bytes."""
        if size != len(self.content):
            self._change(Cut(size, number))

    def _change(self, change: Change) -> None:
        self._content = apply(self.content, [change])
        self.pending.append(change)

    def flush(self, last: int | None = None) -> None:
        """All of it is sure to survive; given ``last``, what was done by that operation is."""
        left = [] if last is None else [each for each in self.pending if each.number > last]
        self.durable = apply(self.durable, self.pending[: len(self.pending) - len(left)])
        self.pending = left

    def after(self, last: int) -> Inode:
        """This file, with what was done by operation ``last`` sure to survive."""
        inode = Inode(self.durable, list(self.pending))
        inode.flush(last)
        return inode

    def coarse(self, is_ordered: bool = False) -> list[Outcome]:
        """Kept, lost, or there by size alone; and with what was cut off come back.

        ``is_ordered``: the disk writes data before sizes.
        """
        if not self.pending:
            return [Outcome(self.durable)]
        writes = [change for change in self.pending if isinstance(change, Write)]
        cuts = [change for change in self.pending if isinstance(change, Cut)]
        outcomes = [Outcome(self.content), Outcome(self.durable, lost(self.pending))]
        if writes and not is_ordered:
            sizes = [Cut(c.size) if isinstance(c, Cut) else c for c in self.pending]
            outcomes.append(Outcome(_by_size(self.durable, sizes), lost(writes, "size only")))
        if writes and cuts:
            outcomes.append(Outcome(apply(self.durable, cuts), lost(writes)))
            outcomes.append(Outcome(apply(self.durable, writes), lost(cuts)))
            if not is_ordered:
                fates = lost(cuts) + lost(writes, "size only")
                outcomes.append(Outcome(_by_size(self.durable, writes), fates))
        return _distinct(outcomes)

    def fine(self, stride: int, is_ordered: bool = False) -> Iterator[Outcome]:
        """Each pending change torn, or missing under a later one, or the last to survive."""
        cuts = [change for change in self.pending if isinstance(change, Cut)]
        yield from self._fine(self.pending, (), stride, is_ordered)
        if cuts and len(cuts) < len(self.pending):
            writes = [change for change in self.pending if isinstance(change, Write)]
            yield from self._fine(writes, lost(cuts), stride, is_ordered)

    def _fine(
        self, changes: Sequence[Change], fates: Fates, stride: int, is_ordered: bool
    ) -> Iterator[Outcome]:
        for at, change in enumerate(changes):
            before, after = changes[:at], changes[at + 1 :]
            yield Outcome(apply(self.durable, before), fates + lost(changes[at:]))
            without = [*before, *_size_of(change, is_ordered), *after]
            yield Outcome(apply(self.durable, without), (*fates, (change.number, "lost")))
            if not isinstance(change, Write):
                continue
            base, gone = apply(self.durable, before), fates + lost(after)
            for tear in _tears(change.data, stride):
                for data, how in _torn(base, change, tear, is_ordered):
                    yield Outcome(data, (*gone, (change.number, how)))
            for block in _blocks(change):
                data = apply(base, [*_size_of(change, is_ordered), *block, *after])
                yield Outcome(data, (*fates, (change.number, "a block of it lost")))

    def at_random(self, dice: Random, is_ordered: bool) -> Outcome:
        """One of all that may be left, by ``dice``."""
        kept: list[Change] = []
        fates: list[tuple[int, str]] = []
        for change in self.pending:
            fate = dice.random()
            if fate < 0.5:
                kept.append(change)
            elif isinstance(change, Write) and len(change.data) > 1 and fate < 0.7:
                tear = dice.randrange(1, len(change.data))
                kept.append(Write(change.offset, change.data[:tear]))
                fates.append((change.number, f"torn after {tear} bytes"))
            else:
                kept += _size_of(change, is_ordered) if dice.random() < 0.5 else []
                fates.append((change.number, "lost"))
        return Outcome(apply(self.durable, kept), tuple(fates))


def _by_size(data: bytes, changes: Sequence[Change]) -> bytes:
    """``data`` with the sizes of ``changes``, but without their bytes."""
    for change in changes:
        data = data.ljust(change.end, b"\0") if isinstance(change, Write) else apply(data, [change])
    return data


def _size_of(change: Change, is_ordered: bool) -> list[Change]:
    """What a lost change leaves: its size, which shows if a later one survives behind it."""
    return [Write(change.end, b"")] if isinstance(change, Write) and not is_ordered else []


def _torn(base: bytes, write: Write, tear: int, is_ordered: bool) -> Iterator[tuple[bytes, str]]:
    part = apply(base, [Write(write.offset, write.data[:tear])])
    how = f"torn after {tear} of {len(write.data)} bytes"
    yield part, how
    rest = write.end - len(part)
    if rest > 0 and not is_ordered:
        yield part + bytes(rest), f"{how}, then zeros"
        yield part + (_GARBAGE * (rest // len(_GARBAGE) + 1))[:rest], f"{how}, then garbage"


def _blocks(write: Write) -> Iterator[list[Change]]:
    """The write without one of its blocks, for each."""
    if len(write.data) <= BLOCK:
        return
    for start in range(write.offset - write.offset % BLOCK, write.end, BLOCK):
        first = max(0, start - write.offset)
        second = start + BLOCK - write.offset
        yield (
            [
                Write(write.offset, write.data[:first]),
                Write(write.offset + second, write.data[second:]),
            ]
            if second < len(write.data)
            else [Write(write.offset, write.data[:first])]
        )


def _tears(data: bytes, stride: int) -> list[int]:
    """Where to tear: at every ``stride`` bytes, and around each line end and the data's ends."""
    ends = [at + 1 for at, byte in enumerate(data) if byte == 0x0A]
    near = {at + shift for at in (0, len(data), *ends) for shift in (-1, 0, 1)}
    return sorted(at for at in near | set(range(0, len(data), stride)) if 0 < at < len(data))


def _distinct(outcomes: list[Outcome]) -> list[Outcome]:
    return list({outcome.data: outcome for outcome in reversed(outcomes)}.values())[::-1]
