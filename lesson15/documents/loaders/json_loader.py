"""JSON files, flattened to ``a.b[0]: value`` lines."""

from __future__ import annotations

import json
from typing import Any

from lesson15.documents.encoding import decode
from lesson15.documents.loaders.base import BoundedLines
from lesson15.documents.parsed import LoadedDocument, ParseOptions, Section
from lesson15.errors import MalformedDocumentError, TruncatedDocumentError


class _Members(list[tuple[str, Any]]):
    """The members of an object; unlike a dict it keeps those whose name comes twice."""


# Numbers stay as they are written: 0.10 is not 0.1, and a long one is no float.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_Members, parse_int=str, parse_float=str, parse_constant=str
)


def load(path: str, data: bytes, options: ParseOptions) -> LoadedDocument:
    """Every scalar of the document on a line of its own, led by where it stands.

    Raises:
        TruncatedDocumentError: the text ends before the value does.
        MalformedDocumentError: it is not JSON, or nests deeper than Python's recursion limit.
        DocumentTooLargeError: long keys make the text outgrow its limit.
        BinaryDocumentError: the file is not text.
    """
    text = decode(data, path, expected="JSON text").strip()
    if not text:
        return LoadedDocument([])
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        detail = f"line {error.lineno}, column {error.colno}: {error.msg}"
        if error.pos >= len(text) or error.msg.startswith("Unterminated string"):
            raise TruncatedDocumentError(path=path, detail=detail) from error
        raise MalformedDocumentError(path=path, expected="JSON", detail=detail) from error
    except RecursionError as error:
        raise MalformedDocumentError(
            path=path, expected="JSON", detail="it is nested too deeply"
        ) from error
    return LoadedDocument([Section(_flatten(value, BoundedLines(path, options)))])


def _flatten(root: Any, lines: BoundedLines) -> str:
    """The scalars under ``root`` in document order, without recursion."""
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, _Members):
            prefix = f"{place}." if place else ""
            waiting.extend((prefix + name, member) for name, member in reversed(value))
        elif isinstance(value, list):
            waiting.extend((f"{place}[{i}]", value[i]) for i in reversed(range(len(value))))
        else:
            scalar = value if isinstance(value, str) else json.dumps(value)
            lines.add(f"{place}: {scalar}" if place else scalar)
    return lines.text()
