"""PDF files, by pypdf."""

from __future__ import annotations

import io
import logging
import re
from typing import TYPE_CHECKING

from lesson15.documents.loaders.base import TextLimit
from lesson15.documents.loaders.outline import language_meta, short
from lesson15.documents.parsed import LoadedDocument, ParseOptions, Section
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


def load(path: str, data: bytes, options: ParseOptions) -> LoadedDocument:
    """The text of each page that has any, in a section of its own.

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
        return LoadedDocument(_pages(path, reader, options), _title(reader))
    except PdfReadError as error:
        raise MalformedDocumentError(path=path, expected="PDF", detail=str(error)) from error


def _pages(path: str, reader: PdfReader, options: ParseOptions) -> list[Section]:
    limit = TextLimit(path, options)
    texts = (limit.count(page.extract_text()) for page in reader.pages)
    meta = _language(reader)
    sections = [
        Section(text, meta={"page": number, **meta})
        for number, text in enumerate(texts, 1)
        if text.strip()
    ]
    if not sections:
        raise NoTextError(path=path, detail=f"pages: {len(reader.pages)}")
    return sections


def _title(reader: PdfReader) -> str | None:
    try:
        title = reader.metadata and reader.metadata.title
    except Exception:  # noqa: BLE001 - the text is sound, and is not given up for its label
        return None
    return short(title) or None if isinstance(title, str) else None


def _language(reader: PdfReader) -> dict[str, str]:
    try:
        language = reader.root_object.get("/Lang")
    except Exception:  # noqa: BLE001 - as above
        return {}
    return language_meta(language)


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
