"""CSV and JSON, as lines of "name: value" that a search can find."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from lesson15.documents.encoding import decode
from lesson15.documents.parsed import LoadedText
from lesson15.errors import MalformedDocumentError, TruncatedDocumentError

_FIELD_LIMIT = 10 * 1024 * 1024
_SNIFF_CHARS = 8192


def load_csv(path: str, data: bytes) -> LoadedText:
    """Each row as "column: value" pairs, a blank line between two rows."""
    text = decode(path, data, "CSV")
    try:
        dialect: Any = csv.Sniffer().sniff(text[:_SNIFF_CHARS], delimiters=",;\t|")
    except csv.Error:  # one column, or too short to tell
        dialect = csv.excel
    csv.field_size_limit(_FIELD_LIMIT)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), dialect) if any(row)]
    except csv.Error as error:
        raise MalformedDocumentError(path=path, expected="CSV", detail=error) from error
    if len(rows) < 2:
        return LoadedText("\n".join("\t".join(row) for row in rows))
    header = rows[0]
    return LoadedText("\n\n".join(_row(header, row) for row in rows[1:]))


def _row(header: list[str], row: list[str]) -> str:
    names = header + [f"column {number}" for number in range(len(header) + 1, len(row) + 1)]
    pairs = zip(names, row, strict=False)
    return "\n".join(f"{name.strip()}: {value.strip()}" for name, value in pairs if value.strip())


def load_json(path: str, data: bytes) -> LoadedText:
    """Each leaf as "path.to[0].it: value"."""
    text = decode(path, data, "JSON")
    try:
        content = json.loads(text)
        return LoadedText("\n".join(_leaves(content, "")))
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
            raise TruncatedDocumentError(path=path, detail=error) from error
        raise MalformedDocumentError(path=path, expected="JSON", detail=error) from error
    except RecursionError as error:
        raise MalformedDocumentError(
            path=path, expected="JSON", detail="nested too deeply"
        ) from error


def _leaves(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}[{number}]")
    elif value is not None and value != "":
        yield f"{path}: {value}" if path else str(value)
