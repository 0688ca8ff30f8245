"""Reading what damage has left of a journal, a checkpoint or a manifest.

A record of the journal is checked by the checksum before it and its own. Behind a damaged record
the chain goes on from a checksum that is in the damaged bytes, or that its payload comes to: a
record that fits to one of these is sound, as another match is a matter of 1 in four thousand
million. Where one bit was flipped, trying each bit finds it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from lesson15.checkpoint.encryption import Cipher
from lesson15.checkpoint.journal import Position, place_of
from lesson15.errors import CorruptCheckpointError, StateReadError
from lesson15.events import Committed, Event, decode

_CHECKSUM = re.compile(rb"[0-9a-f]{8}(?= )")
_MOST_STARTS = 64  # checksums that a record may follow, behind damage
_MOST_BYTES = 16 * 1024  # a bit is looked for in so many bytes at most: trying takes seconds


class _Record(NamedTuple):
    offset: int
    data: bytes

    @property
    def payload(self) -> bytes:
        return self.data[9:-1]

    @property
    def checksum(self) -> int | None:
        found = _CHECKSUM.match(self.data)
        return int(found[0], 16) if found else None

    def follows(self, before: int) -> bool:
        return zlib.crc32(self.payload, before) == self.checksum


def flipped_back(data: bytes, is_right: Callable[[bytes], bool]) -> bytes | None:
    """``data`` with the one bit flipped that makes it right, None if there is no such bit."""
    if len(data) > _MOST_BYTES:
        return None
    changed = bytearray(data)
    for at in range(len(data)):
        for bit in range(8):
            changed[at] ^= 1 << bit
            if is_right(bytes(changed)):
                return bytes(changed)
            changed[at] ^= 1 << bit
    return None


class Salvage:
    """The events that can be read of the journal at ``path``, damaged or not.

    Args:
        path: the journal.
        end: its committed end; None, if that is not known: then what follows the last
            :class:`Committed` event that is found does not count.
        cipher: what opens its records, None if they are in clear.

    Attributes:
        lost: about how many records could not be read, once the events have been read.
    """

    def __init__(self, path: Path, end: Position | None, cipher: Cipher | None) -> None:
        self._path = path
        self._end = end
        self._size = None if end is None else end.offset
        self._cipher = cipher
        self.lost = 0

    def events(self) -> Iterator[Event]:
        """What can be read, in order; raises StateReadError."""
        waiting: list[Event] = []
        for event in self._every_event():
            if self._size is not None:
                yield event
                continue
            waiting.append(event)
            if isinstance(event, Committed):
                yield from waiting
                waiting.clear()

    def _every_event(self) -> Iterator[Event]:
        start, starts = 0, [0]  # the chain before the damage, and where it may go on behind it
        doubtful: list[_Record] = []
        for record in self._lines():
            before = next((crc for crc in starts if record.follows(crc)), None)
            if before is None:
                doubtful.append(record)
                computed = [zlib.crc32(record.payload, crc) for crc in starts[:8]]
                named = [int(found, 16) for found in _CHECKSUM.findall(record.data)]
                starts = [*named, *computed, *starts][:_MOST_STARTS]
                continue
            if doubtful:
                yield from self._mended(doubtful, start, before)
                doubtful = []
            event = self._event(record, record.payload, before)
            if event is None:
                self.lost += 1
            else:
                yield event
            start = record.checksum or 0
            starts = [start]
        if doubtful:
            yield from self._mended(doubtful, start, self._end.crc if self._end else None)

    def _lines(self) -> Iterator[_Record]:
        try:
            with self._path.open("rb") as file:
                offset = 0
                while self._size is None or offset < self._size:
                    line = file.readline()
                    if self._size is not None:
                        line = line[: self._size - offset]
                    if not line:
                        return
                    yield _Record(offset, line)
                    offset += len(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StateReadError(path=self._path, detail=error) from error

    def _mended(self, damaged: list[_Record], start: int, end: int | None) -> list[Event]:
        """The events of ``damaged``, which the chain enters with ``start`` and leaves with ``end``.

        A flipped bit may have made one line of two, or two of one, so that is tried as well.
        """
        apart = [part for record in damaged for part in _parts(record)]
        joined = _Record(damaged[0].offset, b"".join(record.data for record in damaged))
        best: list[Event] = []
        for records in (damaged, apart, [joined]):
            events = self._mended_records(records, start, end)
            if len(events) > len(best):
                best = events
            if len(events) == len(records):
                return events
        self.lost += max(1, min(len(damaged), len(apart)) - len(best))
        return best

    def _mended_records(self, records: list[_Record], start: int, end: int | None) -> list[Event]:
        events = []
        before: int | None = start
        for number, record in enumerate(records, 1):
            is_last = number == len(records)
            after = end if is_last and end is not None else record.checksum
            if before is not None and after is not None:
                payload = _right_payload(record.payload, before, after)
                event = None if payload is None else self._event(record, payload, before)
                if event is not None:
                    events.append(event)
            before = after
        return events

    def _event(self, record: _Record, payload: bytes, before: int) -> Event | None:
        try:
            if self._cipher is not None:
                place = place_of(record.offset, before)
                payload = self._cipher.open_text(payload, place, self._path)
            return decode(orjson.loads(payload))
        except (ValueError, CorruptCheckpointError):
            return None


def _parts(record: _Record) -> Iterator[_Record]:
    """``record``, cut wherever another may begin."""
    cuts = [found.start() for found in _CHECKSUM.finditer(record.data) if found.start() > 9]
    for start, stop in zip([0, *cuts], [*cuts, len(record.data)], strict=True):
        yield _Record(record.offset + start, record.data[start:stop])


def _right_payload(payload: bytes, before: int, after: int) -> bytes | None:
    """``payload``, with one bit flipped back if need be, that takes the chain to ``after``."""
    if zlib.crc32(payload, before) == after:
        return payload
    return flipped_back(payload, lambda data: zlib.crc32(data, before) == after)
