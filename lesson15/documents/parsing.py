"""From a path to chunks, synchronously. Whatever goes wrong is a named error of that document."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from lesson15.documents.chunkers import split_document
from lesson15.documents.chunking import normalize
from lesson15.documents.loaders import loaders, supported_types
from lesson15.documents.parsed import (
    Fingerprint,
    LoadedDocument,
    ParsedDocument,
    ParseOptions,
    Section,
)
from lesson15.documents.scan import is_inside
from lesson15.errors import (
    DocumentChangedError,
    DocumentError,
    DocumentNotFoundError,
    DocumentTooLargeError,
    EmptyDocumentError,
    InvalidChunkError,
    MalformedDocumentError,
    NotAFileError,
    NoTextError,
    OutOfMemoryError,
    OutsideRootsError,
    UnreadableDocumentError,
    UnsupportedFormatError,
)

# What the system says of an entry that no waiting turns into a file.
_NOT_A_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.ENAMETOOLONG)


def _go_on(_part: str) -> None:
    """What is done before a part of the work: nothing."""


def parse_document(
    path: str, options: ParseOptions, before: Callable[[str], None] = _go_on
) -> ParsedDocument:
    """Read, decode and chunk the file at ``path``.

    ``before`` is called with "read" and "parse" before it does that.

    Raises:
        DocumentNotFoundError: there is no such file.
        OutOfMemoryError: it does not fit in memory.
        DocumentError: any other fault of the document, by name.
    """
    with _named_errors(path):
        before("read")
        data, fingerprint = _read(path, options)
        before("parse")
        chunks = split_document(_load(path, data, options), path, options)
    if not chunks:
        raise NoTextError(path=path, detail="it holds white space only")
    return ParsedDocument(chunks, hashlib.sha256(data).hexdigest(), fingerprint)


def read_document(path: str, options: ParseOptions) -> LoadedDocument:
    """The normalised text of the file at ``path``; raises as :func:`parse_document` does.

    The ``span`` of a chunk counts in its ``text``: for each ``chunk`` that the chunker makes,
    ``read_document(path, options).text[slice(*chunk.meta["span"])] == chunk.text``.
    """
    with _named_errors(path):
        data, _ = _read(path, options)
        return _load(path, data, options)


def _load(path: str, data: bytes, options: ParseOptions) -> LoadedDocument:
    suffix = _suffix(path)
    loaded: object = loaders()[suffix](path, data, options)
    if not isinstance(loaded, LoadedDocument):
        detail = f"{type(loaded).__name__} instead of LoadedDocument"
        raise InvalidChunkError(path=path, source=f"the loader of {suffix} files", detail=detail)
    sections = [_normalized(section) for section in loaded.sections]
    return replace(loaded, sections=sections)


def _normalized(section: Section) -> Section:
    return replace(section, text=normalize(section.text))


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 - paths are strings here


@contextmanager
def _named_errors(path: str) -> Iterator[None]:
    """Raise whatever goes wrong as a named error of the document at ``path``."""
    try:
        yield
    except DocumentError:
        raise
    except FileNotFoundError as error:
        raise DocumentNotFoundError(path=path) from error
    except MemoryError as error:
        raise OutOfMemoryError(path=path, detail="while parsing") from error
    except OSError as error:
        kind = NotAFileError if error.errno in _NOT_A_FILE else UnreadableDocumentError
        raise kind(path=path, detail=error.strerror or error) from error
    except Exception as error:  # a third-party parser met bytes that its authors did not
        detail = f"{type(error).__name__}: {error}"
        expected = _suffix(path).lstrip(".").upper()
        raise MalformedDocumentError(path=path, expected=expected, detail=detail) from error


def _read(path: str, options: ParseOptions) -> tuple[bytes, Fingerprint]:
    """The bytes of a regular file that keeps still; never blocks on pipes and devices."""
    limit = options.max_document_bytes
    _check_roots(path, path, options)
    try:
        # O_NONBLOCK: opening a pipe without a writer would wait for one.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        if os.path.islink(path):  # noqa: PTH114 - paths are strings here
            raise NotAFileError(path=path, detail="a broken link") from None
        raise
    with os.fdopen(descriptor, "rb") as file:
        # Where the open file lies, not where its name leads by now: a link that was swapped
        # between the first check and the opening gains nothing.
        _check_roots(path, f"/proc/self/fd/{descriptor}", options)
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise NotAFileError(path=path, detail=_kind_of(before.st_mode))
        suffix = _suffix(path)
        if suffix not in loaders():
            raise UnsupportedFormatError(path=path, suffix=suffix, types=supported_types())
        if before.st_size > limit:
            raise DocumentTooLargeError(path=path, size=before.st_size, limit=limit)
        if not before.st_size:
            raise EmptyDocumentError(path=path)
        data = file.read(before.st_size + 1)
        fingerprint = Fingerprint.from_stat(os.fstat(descriptor))
    if fingerprint != Fingerprint.from_stat(before) or len(data) != before.st_size:
        raise DocumentChangedError(path=path)
    return data, fingerprint


def _kind_of(mode: int) -> str:
    """What a file that is not a regular one is."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _check_roots(path: str, link: str, options: ParseOptions) -> None:
    """Raise OutsideRootsError unless ``link``, all links followed, lies in one of the roots."""
    if options.roots is not None and (link == path or os.path.lexists(link)):
        real = os.path.realpath(link)
        if not any(is_inside(real, root) for root in options.roots):
            raise OutsideRootsError(path=path)
