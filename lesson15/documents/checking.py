"""Checking what loaders, chunkers and steps make, so that a fault is told where it was made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from lesson15.errors import InvalidChunkError
from lesson15.models import Chunk

_MAX_INTEGER = 2**63  # what the JSON of the state can carry
_MAX_DEPTH = 50


def check_chunks(made: object, path: str, source: str) -> list[Chunk]:
    """The chunks in ``made``, if it is a sequence of sound ones; blank ones are left out.

    Args:
        made: what should be an iterable of :class:`Chunk`.
        path: of the document, for the message.
        source: who made it, for the message, such as ``"the step 'dedupe'"``.

    Raises:
        InvalidChunkError: it is something else, or holds what is not JSON.
    """
    if not isinstance(made, Iterable):
        detail = f"{_kind(made)} instead of a sequence of Chunk"
        raise InvalidChunkError(path=path, source=source, detail=detail)
    chunks: list[Chunk] = []
    for chunk in made:
        if not isinstance(chunk, Chunk):
            detail = f"{_kind(chunk)} instead of a Chunk"
            raise InvalidChunkError(path=path, source=source, detail=detail)
        fault = _fault_of_text(chunk.text, "the text of a chunk") or fault_of_meta(chunk.meta)
        if fault:
            raise InvalidChunkError(path=path, source=source, detail=fault)
        if chunk.text.strip():
            chunks.append(chunk)
    return chunks


def fault_of_meta(meta: object) -> str | None:
    """What is wrong with the ``meta`` of a chunk or section; None if nothing is."""
    if not isinstance(meta, Mapping):
        return f"meta is {_kind(meta)} instead of a mapping"
    for key, value in meta.items():
        if not isinstance(key, str):
            return f"meta has the key {key!r}, which is not a string"
        fault = _fault_of_text(key, "a key of meta") or _not_json(value, f"meta[{key!r}]", 0)
        if fault:
            return fault
        if key in _WELL_KNOWN and not _WELL_KNOWN[key][0](value):
            return f"meta[{key!r}] is {value!r} instead of {_WELL_KNOWN[key][1]}"
    return None


def _not_json(value: object, place: str, depth: int) -> str | None:
    """Why ``value`` cannot be stored and read back as it is."""
    if depth > _MAX_DEPTH:
        return f"{place} is nested too deeply"
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _fault_of_text(value, place)
    if type(value) is int and abs(value) < _MAX_INTEGER:
        return None
    if type(value) is float and math.isfinite(value):
        return None
    if type(value) is list:
        members: Iterable[tuple[str, Any]] = (
            (f"{place}[{number}]", member) for number, member in enumerate(value)
        )
    elif type(value) is dict:
        if not all(isinstance(key, str) for key in value):
            return f"{place} has a key that is not a string"
        members = ((f"{place}[{key!r}]", member) for key, member in value.items())
    else:
        shown = f"{value!r:.60}" if isinstance(value, int | float) else _kind(value)
        return f"{place} is {shown}, which is not JSON"
    return next(filter(None, (_not_json(each, name, depth + 1) for name, each in members)), None)


def _fault_of_text(text: object, place: str) -> str | None:
    if type(text) is not str:
        return f"{place} is {_kind(text)} instead of a string"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"{place} has half of a surrogate pair"
    return None


def _kind(value: object) -> str:
    return f"a value of the type {type(value).__name__}"


def _is_page(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_heading(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_span(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2  # noqa: PLR2004, RUF100 - its two ends
        and all(type(each) is int for each in value)
        and 0 <= value[0] <= value[1]
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_WELL_KNOWN = {
    "page": (_is_page, "a whole number from 1"),
    "heading": (_is_heading, "a list of strings"),
    "span": (_is_span, "[start, end]"),
    "title": (_is_text, "a string"),
    "language": (_is_text, "a string"),
}
