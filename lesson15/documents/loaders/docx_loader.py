"""Word files (``.docx``), opened by python-docx and read from its XML.

python-docx's own ``paragraph.text`` leaves out content controls, tracked insertions and text
boxes, and its ``row.cells`` is quadratic: the elements are walked here instead.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

from lesson15.documents.loaders.base import BoundedLines
from lesson15.documents.parsed import LoadedText, ParseOptions
from lesson15.errors import (
    DocumentTooLargeError,
    EncryptedDocumentError,
    MalformedDocumentError,
    TruncatedDocumentError,
)

OLE2_MAGIC = bytes.fromhex("D0CF11E0A1B11AE1")
OLD_WORD_STREAM = "WordDocument".encode("utf-16-le")
ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
END_OF_DIRECTORY = b"PK\x05\x06"

MAX_RATIO = 200
"""Text XML packs 10 to 50 times; a bomb made by deflate comes near 1000."""
RATIO_FREE_BYTES = 16 * 1024 * 1024
"""Below this unpacked size the ratio does not matter."""

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_SKIPPED = frozenset({f"{_W}del", f"{_W}moveFrom", f"{_W}rPr", f"{_W}pPr", _FALLBACK})
_MARKS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}


def load(path: str, data: bytes, options: ParseOptions) -> LoadedText:
    """Paragraphs and tables in document order; the cells of a row are separated by tabs.

    Raises:
        EncryptedDocumentError: the file is an encrypted Office package.
        TruncatedDocumentError: the end of the archive is missing.
        DocumentTooLargeError: the archive would unpack to too much, told before unpacking.
        MalformedDocumentError: it is not a Word document.
    """
    _check_archive(path, data, options)
    import docx

    try:
        body = docx.Document(io.BytesIO(data)).element.body
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise MalformedDocumentError(path=path, expected="DOCX", detail=str(error)) from error
    lines = BoundedLines(path, options)
    for line in _blocks(body):
        lines.add(line)
    return LoadedText(lines.text())


def _check_archive(path: str, data: bytes, options: ParseOptions) -> None:
    if data.startswith(OLE2_MAGIC):
        if OLD_WORD_STREAM in data and ENCRYPTED_STREAM not in data:
            detail = "it is a Word 97-2003 document"
            raise MalformedDocumentError(path=path, expected="DOCX", detail=detail)
        raise EncryptedDocumentError(path=path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError) as error:
        if data.startswith(b"PK\x03\x04") and END_OF_DIRECTORY not in data:
            detail = "the archive has no directory at its end"
            raise TruncatedDocumentError(path=path, detail=detail) from error
        raise MalformedDocumentError(path=path, expected="DOCX", detail=str(error)) from error
    if any(entry.flag_bits & 1 for entry in entries):
        raise EncryptedDocumentError(path=path)
    unpacked = sum(entry.file_size for entry in entries)
    limit = options.max_text_chars
    if unpacked > RATIO_FREE_BYTES:
        limit = min(limit, MAX_RATIO * len(data))
    if unpacked > limit:
        raise DocumentTooLargeError(path=path, size=unpacked, limit=limit)


def _blocks(parent: Any) -> list[str]:
    """One line for each paragraph and table row under ``parent`` (lxml bounds the depth)."""
    lines: list[str] = []
    for child in parent:
        if child.tag == f"{_W}p":
            lines.append(_paragraph(child))
        elif child.tag == f"{_W}tbl":
            lines.extend(_rows(child))
            lines.append("")
        elif child.tag not in _SKIPPED:
            lines.extend(_blocks(child))
    return lines


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
