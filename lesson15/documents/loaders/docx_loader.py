"""Word files (``.docx``), opened by python-docx and read from its XML.

python-docx's own ``paragraph.text`` leaves out content controls, tracked insertions and text
boxes, and its ``row.cells`` is quadratic: the elements are walked here instead.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from lesson15.documents.archives import open_archive
from lesson15.documents.loaders.outline import Outline, language_meta, short
from lesson15.documents.parsed import LoadedDocument, ParseOptions
from lesson15.errors import MalformedDocumentError

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_SKIPPED = frozenset({f"{_W}del", f"{_W}moveFrom", f"{_W}rPr", f"{_W}pPr", _FALLBACK})
_TITLE = 0
_BODY_LEVEL = 9
_DEFAULT_TITLE = "Word Document"  # what python-docx says of a file without properties
_MARKS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}


def load(path: str, data: bytes, options: ParseOptions) -> LoadedDocument:
    """Paragraphs and tables in document order; the cells of a row are separated by tabs.

    Raises:
        EncryptedDocumentError, TruncatedDocumentError, DocumentTooLargeError: as
            :func:`lesson15.documents.archives.open_archive` does.
        MalformedDocumentError: it is not a Word document.
    """
    open_archive(path, data, options, "DOCX").close()
    import docx

    try:
        document = docx.Document(io.BytesIO(data))
        body = document.element.body
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise MalformedDocumentError(path=path, expected="DOCX", detail=str(error)) from error
    levels, declared_title, language = _described(document)
    outline = Outline(path, options, meta=language_meta(language))
    title = None
    for paragraph, line in _walk(body):
        level = None if paragraph is None else _level(paragraph, levels)
        if level is None:
            outline.add(line)
        elif level == _TITLE:
            title = title or short(line)
            outline.add_preface([line])
        else:
            outline.add_heading(level, line, [line])
    return LoadedDocument(outline.sections(), title or declared_title)


def _described(document: Any) -> tuple[dict[str, int], str | None, str | None]:
    """The levels of the styles, and what the properties say of title and language."""
    try:
        properties = document.core_properties
        title = short(properties.title) if properties.title != _DEFAULT_TITLE else None
        return _levels(document), title or None, properties.language
    except Exception:  # noqa: BLE001 - the text is sound, and is not given up for its labels
        return {}, None, None


def _levels(document: Any) -> dict[str, int]:
    """The level of each style of headings, by its id; the names are the same in all languages."""
    levels: dict[str, int] = {}
    for style in document.styles.element.iterchildren(f"{_W}style"):
        name = style.find(f"{_W}name")
        named = "" if name is None else name.get(f"{_W}val", "").lower()
        level = _TITLE if named == "title" else _outline_level(style)
        if named.startswith("heading ") and named[8:].isdecimal():
            level = int(named[8:])
        if level is not None:
            levels[style.get(f"{_W}styleId", "")] = level
    return levels


def _level(paragraph: Any, levels: dict[str, int]) -> int | None:
    """The level of a heading, 0 for a title, None for a paragraph of text."""
    own = _outline_level(paragraph)
    if own is not None:
        return own
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    return None if style is None else levels.get(style.get(f"{_W}val"))


def _outline_level(element: Any) -> int | None:
    """The level that the properties of a paragraph or style give it, from 1 to 9."""
    found = element.find(f"{_W}pPr/{_W}outlineLvl")
    value = "" if found is None else found.get(f"{_W}val", "")
    return int(value) + 1 if value.isdecimal() and int(value) < _BODY_LEVEL else None


def _blocks(parent: Any) -> list[str]:
    """One line for each paragraph and table row under ``parent`` (lxml bounds the depth)."""
    return [line for _, line in _walk(parent)]


def _walk(parent: Any) -> Iterator[tuple[Any, str]]:
    """The lines under ``parent``, each with the paragraph that it is, None for one of a table."""
    for child in parent:
        if child.tag == f"{_W}p":
            yield child, _paragraph(child)
        elif child.tag == f"{_W}tbl":
            for row in _rows(child):
                yield None, row
            yield None, ""
        elif child.tag not in _SKIPPED:
            yield from _walk(child)


def _rows(table: Any) -> list[str]:
    rows: list[str] = []
    for child in table:
        if child.tag == f"{_W}tr":
            rows.append("\t".join(_cells(child)))
        elif child.tag not in _SKIPPED:
            rows.extend(_rows(child))
    return rows


def _cells(row: Any) -> list[str]:
    cells: list[str] = []
    for child in row:
        if child.tag == f"{_W}tc":
            cells.append(" ".join(line for line in _blocks(child) if line))
        elif child.tag not in _SKIPPED:
            cells.extend(_cells(child))
    return cells


def _paragraph(element: Any) -> str:
    parts: list[str] = []
    for child in element:
        if child.tag == f"{_W}t":
            parts.append(child.text or "")
        elif child.tag in _MARKS:
            parts.append(_MARKS[child.tag])
        elif child.tag == f"{_W}txbxContent":
            parts.extend(f"\n{line}" for line in _blocks(child))
        elif child.tag not in _SKIPPED:
            parts.append(_paragraph(child))
    return "".join(parts)
