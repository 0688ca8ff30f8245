"""Word documents (.docx) through python-docx."""

from __future__ import annotations

import io
import zipfile

import docx
from docx.opc.exceptions import PackageNotFoundError
from docx.table import Table

from lesson15.documents.parsed import LoadedText
from lesson15.errors import (
    BinaryDocumentError,
    DocumentTooLargeError,
    EncryptedDocumentError,
    MalformedDocumentError,
    TruncatedDocumentError,
)

_OLE2 = b"\xd0\xcf\x11\xe0"  # the container that Office puts password-protected files in
_MAX_UNPACKED_BYTES = 256 * 1024 * 1024


def load_docx(path: str, data: bytes) -> LoadedText:
    """Paragraphs and tables in their order; cells of a row are joined by tabs."""
    if data.startswith(_OLE2):
        raise EncryptedDocumentError(path=path)
    if not data.startswith(b"PK"):
        raise BinaryDocumentError(path=path, expected="a Word document")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise TruncatedDocumentError(path=path, detail=error) from error
    if unpacked > _MAX_UNPACKED_BYTES:
        raise DocumentTooLargeError(path=path, size=unpacked, limit=_MAX_UNPACKED_BYTES)
    try:
        document = docx.Document(io.BytesIO(data))
        lines = []
        for part in document.iter_inner_content():
            if isinstance(part, Table):
                lines.extend("\t".join(cell.text for cell in row.cells) for row in part.rows)
            else:
                lines.append(part.text)
    except (PackageNotFoundError, KeyError, ValueError, zipfile.BadZipFile, SyntaxError) as error:
        raise MalformedDocumentError(
            path=path, expected="a Word document", detail=error
        ) from error
    return LoadedText("\n".join(lines))
