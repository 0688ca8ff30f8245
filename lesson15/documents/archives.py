"""Opening documents that are ZIP archives, such as Office files, without falling for a bomb."""

from __future__ import annotations

import io
import zipfile

from lesson15.documents.parsed import ParseOptions
from lesson15.errors import (
    DocumentTooLargeError,
    EncryptedDocumentError,
    MalformedDocumentError,
    TruncatedDocumentError,
)

OLE2_MAGIC = bytes.fromhex("D0CF11E0A1B11AE1")
ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
OLD_STREAMS = {
    "WordDocument".encode("utf-16-le"): "a Word 97-2003 document",
    "PowerPoint Document".encode("utf-16-le"): "a PowerPoint 97-2003 presentation",
    "Workbook".encode("utf-16-le"): "an Excel 97-2003 workbook",
}
END_OF_DIRECTORY = b"PK\x05\x06"

MAX_RATIO = 200
"""Text XML packs 10 to 50 times; a bomb made by deflate comes near 1000."""
RATIO_FREE_BYTES = 16 * 1024 * 1024
"""Below this unpacked size the ratio does not matter."""


def open_archive(path: str, data: bytes, options: ParseOptions, expected: str) -> zipfile.ZipFile:
    """The archive in ``data``, which unpacks to no more than a document may.

    Args:
        path: what messages call it.
        data: the whole file.
        options: hold the limit.
        expected: what messages say it should have been, such as ``"DOCX"``.

    Raises:
        EncryptedDocumentError: it is an encrypted Office package, or has encrypted members.
        TruncatedDocumentError: the end of the archive is missing.
        DocumentTooLargeError: it would unpack to too much, told before unpacking.
        MalformedDocumentError: it is not an archive.
    """
    if data.startswith(OLE2_MAGIC):
        if ENCRYPTED_STREAM not in data:
            for stream, what in OLD_STREAMS.items():
                if stream in data:
                    raise MalformedDocumentError(
                        path=path, expected=expected, detail=f"it is {what}"
                    )
        raise EncryptedDocumentError(path=path)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, NotImplementedError) as error:
        if data.startswith(b"PK\x03\x04") and END_OF_DIRECTORY not in data:
            detail = "the archive has no directory at its end"
            raise TruncatedDocumentError(path=path, detail=detail) from error
        raise MalformedDocumentError(path=path, expected=expected, detail=str(error)) from error
    entries = archive.infolist()
    if any(entry.flag_bits & 1 for entry in entries):
        raise EncryptedDocumentError(path=path)
    # A member yields no more bytes than its entry says: zipfile stops there.
    unpacked = sum(entry.file_size for entry in entries)
    limit = options.max_text_chars
    if unpacked > RATIO_FREE_BYTES:
        limit = min(limit, MAX_RATIO * len(data))
    if unpacked > limit:
        raise DocumentTooLargeError(path=path, size=unpacked, limit=limit)
    return archive
