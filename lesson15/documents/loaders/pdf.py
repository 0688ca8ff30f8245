"""PDF through pypdf."""

from __future__ import annotations

import io
import logging

from pypdf import PdfReader
from pypdf.errors import DependencyError, EmptyFileError, FileNotDecryptedError, PyPdfError

from lesson15.documents.parsed import LoadedText
from lesson15.errors import (
    BinaryDocumentError,
    EncryptedDocumentError,
    MalformedDocumentError,
    NoTextError,
    TruncatedDocumentError,
)

logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of every flaw it can live with


def load_pdf(path: str, data: bytes) -> LoadedText:
    """The text of all pages, with a blank line between two."""
    if b"%PDF-" not in data[:1024]:
        raise BinaryDocumentError(path=path, expected="PDF")
    if b"%%EOF" not in data[-2048:]:
        raise TruncatedDocumentError(path=path, detail="its end marker %%EOF is missing")
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise EncryptedDocumentError(path=path)
        pages = [page.extract_text() for page in reader.pages]
    except (FileNotDecryptedError, DependencyError) as error:
        raise EncryptedDocumentError(path=path) from error
    except EmptyFileError as error:
        raise TruncatedDocumentError(path=path, detail=error) from error
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise MalformedDocumentError(path=path, expected="PDF", detail=error) from error
    if not any(page.strip() for page in pages):
        raise NoTextError(path=path, detail=f"{len(pages)} pages of PDF")
    return LoadedText("\n\n".join(pages))
