"""A file that only grows: what is appended waits in memory until it is taken and written.

Taking and writing are two calls, so that one thread can append while another writes and flushes
what was appended before.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lesson15.checkpoint.filesystem import FileSystem, open_log

WRITE_BYTES = 4 * 1024 * 1024
"""How much is written at once, about."""


class AppendOnlyFile:
    """The file at ``path``, open for appending after byte ``start``.

    Attributes:
        offset: its length in bytes, with what waits.
        waiting_bytes: how many bytes wait.

    Raises:
        OSError: the system refused.
    """

    def __init__(self, fs: FileSystem, path: Path, start: int) -> None:
        self._file = open_log(fs, path)
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
