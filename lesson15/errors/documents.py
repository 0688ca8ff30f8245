"""What goes wrong with one document: it is tried again, or goes to the dead-letter list."""

# ruff: noqa: D101 - __init_subclass__ makes the docstring of a class from its message

from __future__ import annotations

from typing import TYPE_CHECKING

from lesson15.errors.base import Lesson15Error


class DocumentError(Lesson15Error):
    """A document is at fault."""

    path: object
    message = "{path}: {detail}"

    if TYPE_CHECKING:  # the fields of its own message, which those below do not have

        def __init__(self, *, path: object, detail: object) -> None: ...


class UnsupportedFormatError(DocumentError):
    suffix: str
    types: str
    message = "{path}: files of type {suffix!r} are not supported. Supported types: {types}."


class EmptyDocumentError(DocumentError):
    message = "{path}: the file is empty."


class NoTextError(DocumentError):
    detail: object
    message = "{path}: no text was found in it ({detail}). Scanned pages need OCR first."


class BinaryDocumentError(DocumentError):
    expected: str
    message = """
    {path}: this is binary data, not {expected}. Rename it to its true type or leave it out.
    """


class TruncatedDocumentError(DocumentError):
    detail: object
    message = "{path}: the file is cut short ({detail}). Copy it again from its source."


class MalformedDocumentError(DocumentError):
    expected: str
    detail: object
    message = "{path}: the file is not valid {expected} ({detail}). Repair it or export it again."


class EncryptedDocumentError(DocumentError):
    message = "{path}: the file is protected by a password. Save a copy without one."


class DocumentTooLargeError(DocumentError):
    size: int
    limit: object
    message = """
    {path}: {size} bytes is over the limit of {limit} bytes. Split the file, or raise
    LESSON15_MAX_DOCUMENT_BYTES.
    """


class UnreadableDocumentError(DocumentError):
    detail: object
    message = "{path}: the file cannot be read ({detail}). Check its permissions and its disk."


class NotAFileError(UnreadableDocumentError):
    path: object
    detail: object
    message = "{path}: this is not a regular file ({detail}). Put a file there, or leave it out."


class OutsideRootsError(DocumentError):
    message = """
    {path}: it leads outside of the folders that may be read. Copy the file into one of them.
    """


class DocumentChangedError(DocumentError):
    message = "{path}: the file changed while it was being read."


class ParserCrashedError(DocumentError):
    detail: object
    message = """
    {path}: the parser process died on this document ({detail}). The document is set aside.
    """


class ParseTimeoutError(DocumentError):
    seconds: float
    message = """
    {path}: parsing took longer than {seconds} s and was stopped. Raise LESSON15_PARSE_TIMEOUT if
    the document is sound.
    """


class WorkerLostError(DocumentError):
    count: int
    message = """
    {path}: {count} workers in a row died or hung while they worked on it. The document is set
    aside.
    """


class InvalidResultError(DocumentError):
    detail: object
    message = "{path}: the result failed validation ({detail})."


class InvalidChunkError(DocumentError):
    path: object
    source: object
    detail: object
    message = "{path}: {source} made what cannot be used ({detail}). Mend or upgrade it."


class StepError(DocumentError):
    path: object
    step: object
    detail: object
    message = "{path}: {step} failed ({detail}). Mend it, then run `lesson15 retry-failed`."


class NoChunksError(DocumentError):
    path: object
    step: object
    message = "{path}: the step {step!r} left no chunk of it."


class DocumentNotFoundError(Lesson15Error, FileNotFoundError):
    path: object
    message = "{path}: no such file; it was skipped. Put it back and resume to have it done."


class NetworkTimeoutError(Lesson15Error, TimeoutError):
    message = "{operation} timed out after {seconds} s."

    if TYPE_CHECKING:  # the fields of its own message, which those below do not have

        def __init__(self, *, operation: str, seconds: float) -> None: ...


class StepTimeoutError(NetworkTimeoutError):
    step: str
    seconds: float
    setting: str
    message = """
    The step {step!r} took longer than {seconds} s. Raise LESSON15_{setting} if that is expected.
    """


class OutOfMemoryError(Lesson15Error, MemoryError):
    path: object
    detail: object
    message = """
    {path}: not enough memory to process this document ({detail}). Lower --max-concurrent or raise
    LESSON15_PARSER_MEMORY_BYTES.
    """
