"""The journal: one checksummed line for everything that happened, appended and never rewritten.

A line is ``CCCCCCCC JSON`` and a newline. The checksum is the CRC-32 of the JSON *continued from
the line before*, so a line that is missing, doubled or out of place breaks the chain as surely as
one with a flipped bit. A position in the journal is therefore a pair: a byte offset and the CRC
there. In an encrypted batch the JSON is sealed, in base64; the chain is over that.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from lesson15.checkpoint.encryption import Cipher
from lesson15.checkpoint.filesystem import AppendOnlyFile, FileSystem
from lesson15.errors import CorruptCheckpointError, StateReadError
from lesson15.events import Event, decode, encode


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two lines: its byte offset and the checksum chain up to it."""

    offset: int = 0
    crc: int = 0


class JournalWriter(AppendOnlyFile):
    """The journal, open for appending after ``start``.

    Attributes:
        position: its end, counting events that wait.
    """

    def __init__(
        self, fs: FileSystem, path: Path, start: Position, cipher: Cipher | None = None
    ) -> None:
        super().__init__(fs, path, start.offset)
        self._cipher = cipher
        self.position = start

    def append(self, event: Event) -> None:
        """Add one event, in memory."""
        payload = orjson.dumps(encode(event))
        if self._cipher is not None:
            place = place_of(self.position.offset, self.position.crc)
            payload = self._cipher.seal_text(payload, place)
        crc = zlib.crc32(payload, self.position.crc)
        self.add(b"%08x %b\n" % (crc, payload))
        self.position = Position(self.offset, crc)


def check_end(path: Path, end: Position) -> None:
    """Check that a line with the right checksum ends at ``end``, at the cost of reading that line.

    It tells a journal that is cut short, or another batch's.

    Raises:
        CorruptCheckpointError: there is no such line.
        StateReadError: the system refused to read it.
    """
    if end == Position():
        return
    with _opened(path) as file:
        found = file.seek(0, os.SEEK_END)
        if found < end.offset:
            raise CorruptCheckpointError(
                path=path, detail=f"{found} bytes, but {end.offset} were committed: data was lost"
            )
        line, size = b"", 0
        while line.count(b"\n") < 2 and size < end.offset:
            size = min(2 * size + 4096, end.offset)
            file.seek(end.offset - size)
            line = file.read(size)
    last = line[:-1].rpartition(b"\n")[2]
    if line[-1:] != b"\n" or last[:9] != b"%08x " % end.crc:
        raise CorruptCheckpointError(
            path=path, detail=f"no record with the committed checksum ends at byte {end.offset}"
        )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The journal for reading; what the system refuses meanwhile is an error of the state."""
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise CorruptCheckpointError(path=path, detail="the journal is missing") from error
    except OSError as error:
        raise StateReadError(path=path, detail=error) from error


def read_journal(
    path: Path,
    start: Position = Position(),
    stop: Position | None = None,
    cipher: Cipher | None = None,
) -> Iterator[tuple[Position, Event]]:
    """Yield each event with the position after it, from ``start`` to ``stop`` (or the end).

    Raises:
        CorruptCheckpointError: a line does not match its checksum or is no event, or the chain does
            not end exactly at ``stop``.
        StateReadError: the system refused to read it.
    """
    offset, crc = start.offset, start.crc
    if stop == start:
        return
    with _opened(path) as file:
        file.seek(offset)
        while stop is None or offset < stop.offset:
            line = file.readline()
            if not line and stop is None:
                return
            payload, before = line[9:-1], crc
            crc = zlib.crc32(payload, crc)
            if not line.endswith(b"\n") or line[:9] != b"%08x " % crc:
                raise CorruptCheckpointError(
                    path=path, detail=f"the record at byte {offset} fails its checksum"
                )
            if cipher is not None:
                payload = cipher.open_text(payload, place_of(offset, before), path)
            try:
                event = decode(orjson.loads(payload))
            except ValueError as error:
                raise CorruptCheckpointError(path=path, detail=str(error)) from error
            offset += len(line)
            yield Position(offset, crc), event
    if Position(offset, crc) != stop:
        raise CorruptCheckpointError(
            path=path, detail=f"the journal does not end where the checkpoint says, at {offset}"
        )


def place_of(offset: int, crc: int) -> str:
    """What a sealed record is bound to: where its line begins, and the chain before it."""
    return f"journal:{offset}:{crc:08x}"
