"""PDF files, by pypdf."""

from __future__ import annotations

import io
import logging
import re
from typing import TYPE_CHECKING

from lesson15.documents.loaders.base import BoundedLines
from lesson15.documents.parsed import LoadedText, ParseOptions
from lesson15.errors import (
    EncryptedDocumentError,
    MalformedDocumentError,
    NoTextError,
    TruncatedDocumentError,
)

if TYPE_CHECKING:
    from pypdf import PdfReader

# Readers look for both marks this near the ends of a file (ISO 32000-1, annex H.3, notes 13, 18).
HEADER_BYTES = TRAILER_BYTES = 1024
_LINEARIZED = re.compile(rb"/Linearized\b[^>]*?/L\s+(\d+)")


def load(path: str, data: bytes, options: ParseOptions) -> LoadedText:
    """The text of all pages, a blank line between two pages.

    Raises:
        MalformedDocumentError: it is not a PDF, or pypdf cannot read it.
        TruncatedDocumentError: the end of the file is missing.
        EncryptedDocumentError: it does not open with an empty password.
        NoTextError: no page holds text.
        DocumentTooLargeError: the pages unfold to more text than the limit.
    """
    _check_ends(path, data)
    from pypdf import PdfReader
    from pypdf.errors import PdfReadError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise EncryptedDocumentError(path=path)
        return LoadedText(_pages(path, reader, options))
    except PdfReadError as error:
        raise MalformedDocumentError(path=path, expected="PDF", detail=str(error)) from error


def _pages(path: str, reader: PdfReader, options: ParseOptions) -> str:
    lines = BoundedLines(path, options)
    for page in reader.pages:
        lines.add(page.extract_text())
        lines.add("")
    text = lines.text()
    if not text.strip():
        raise NoTextError(path=path, detail=f"pages: {len(reader.pages)}")
    return text


def _check_ends(path: str, data: bytes) -> None:
    """Tell a cut file from a broken one; pypdf would rebuild part of it and drop the rest."""
    if b"%PDF-" not in data[:HEADER_BYTES]:
        raise MalformedDocumentError(path=path, expected="PDF", detail="there is no %PDF header")
    linearized = _LINEARIZED.search(data[:HEADER_BYTES])
    if linearized and len(data) < int(linearized[1]):
        detail = f"{len(data)} of {int(linearized[1])} bytes"
        raise TruncatedDocumentError(path=path, detail=detail)
    if b"%%EOF" not in data.rstrip(b"\0 \t\r\n")[-TRAILER_BYTES:]:
        raise TruncatedDocumentError(path=path, detail="there is no %%EOF mark at its end")
