"""Plain text: the bytes are the text, once their encoding is known."""

from __future__ import annotations

from lesson15.documents.encoding import decode
from lesson15.documents.parsed import LoadedDocument, ParseOptions, Section


def load(path: str, data: bytes, options: ParseOptions) -> LoadedDocument:  # noqa: ARG001
    """The text of a ``.txt`` file; errors as in :func:`lesson15.documents.encoding.decode`."""
    return LoadedDocument([Section(decode(data, path, expected="plain text"))])
