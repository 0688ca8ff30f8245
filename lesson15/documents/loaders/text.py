"""Plain text and Markdown."""

from __future__ import annotations

from lesson15.documents.encoding import decode
from lesson15.documents.parsed import LoadedText


def load_text(path: str, data: bytes) -> LoadedText:
    """Plain text in any known encoding."""
    return LoadedText(decode(path, data))


def load_markdown(path: str, data: bytes) -> LoadedText:
    """Markdown, kept as written: its structure guides the chunking."""
    return LoadedText(decode(path, data, "Markdown"), "markdown")
