"""What every loader is, and what several of them share."""

from __future__ import annotations

from typing import Protocol

from lesson15.documents.parsed import LoadedDocument, ParseOptions
from lesson15.errors import DocumentTooLargeError


class Loader(Protocol):
    """Turns the bytes of one file into sections of text.

    A loader raises a :class:`~lesson15.errors.DocumentError` for what it recognises; any other
    exception is reported by the caller as a malformed document. ``path`` serves messages only:
    a loader reads ``data`` and never opens a file. It runs in a parser process, which is killed if
    it hangs. :class:`TextLimit` keeps a small file from unfolding to gigabytes.
    """

    def __call__(self, path: str, data: bytes, options: ParseOptions) -> LoadedDocument:
        """The text in ``data``."""
        ...


class TextLimit:
    """Counts text, which may not outgrow ``options.max_text_chars``."""

    def __init__(self, path: str, options: ParseOptions) -> None:
        self._path = path
        self._limit = options.max_text_chars
        self._chars = 0

    def count(self, text: str) -> str:
        """Return ``text``, counted.

        Raises:
            DocumentTooLargeError: the text has outgrown the limit.
        """
        self._chars += len(text) + 1
        if self._chars > self._limit:
            raise DocumentTooLargeError(path=self._path, size=self._chars, limit=self._limit)
        return text


class BoundedLines:
    """Lines of text that may not outgrow ``options.max_text_chars``."""

    def __init__(self, path: str, options: ParseOptions) -> None:
        self._limit = TextLimit(path, options)
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Append ``line``; raises as :meth:`TextLimit.count` does."""
        self._lines.append(self._limit.count(line))

    def text(self) -> str:
        """All lines, joined by newlines."""
        return "\n".join(self._lines)
