"""What every loader is, and what several of them share."""

from __future__ import annotations

from typing import Protocol

from lesson15.documents.parsed import LoadedText, ParseOptions
from lesson15.errors import DocumentTooLargeError


class Loader(Protocol):
    """Turns the bytes of one file into text.

    A loader raises a :class:`~lesson15.errors.DocumentError` for what it recognises; any other
    exception is reported by the caller as a malformed document. ``path`` serves messages only:
    a loader reads ``data`` and never opens a file.
    """

    def __call__(self, path: str, data: bytes, options: ParseOptions) -> LoadedText:
        """The text in ``data``."""
        ...


class BoundedLines:
    """Lines of text that may not outgrow ``options.max_text_chars``."""

    def __init__(self, path: str, options: ParseOptions) -> None:
        self._path = path
        self._limit = options.max_text_chars
        self._lines: list[str] = []
        self._chars = 0

    def add(self, line: str) -> None:
        """Append ``line``.

        Raises:
            DocumentTooLargeError: the text has outgrown the limit.
        """
        self._chars += len(line) + 1
        if self._chars > self._limit:
            raise DocumentTooLargeError(path=self._path, size=self._chars, limit=self._limit)
        self._lines.append(line)

    def text(self) -> str:
        """All lines, joined by newlines."""
        return "\n".join(self._lines)
