"""Plain text and Markdown: the bytes are the text, once their encoding is known."""

from __future__ import annotations

from lesson15.documents.encoding import decode
from lesson15.documents.parsed import LoadedText, ParseOptions


def load_plain(path: str, data: bytes, options: ParseOptions) -> LoadedText:  # noqa: ARG001
    """The text of a ``.txt`` file; errors as in :func:`lesson15.documents.encoding.decode`."""
    return LoadedText(decode(data, path, expected="plain text"))


def load_markdown(path: str, data: bytes, options: ParseOptions) -> LoadedText:  # noqa: ARG001
    """The source of a Markdown file, to be split along its headings and blocks."""
    return LoadedText(decode(data, path, expected="Markdown text"), "markdown")
