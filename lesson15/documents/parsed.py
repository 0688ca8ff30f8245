"""The values that pass between reading, splitting and the engine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from lesson15.models import Chunk

TextKind = Literal["plain", "markdown"]


class Fingerprint(NamedTuple):
    """What tells, without reading it, whether a file is still the one that was read.

    ``size`` is in bytes; ``mtime_ns`` and ``ctime_ns`` are nanoseconds since the epoch, as in
    :func:`os.stat`.
    """

    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Fingerprint:
        """The fingerprint of the file at ``path``.

        Raises:
            OSError: ``os.stat`` failed.
        """
        return cls.from_stat(os.stat(path))  # noqa: PTH116

    @classmethod
    def from_stat(cls, status: os.stat_result) -> Fingerprint:
        """The fingerprint in a ``stat`` result that is already at hand."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class ParseOptions:
    """How documents are read and split.

    ``chunk_chars`` and ``chunk_overlap_chars`` count characters of English (see
    :mod:`lesson15.documents.chunking`); ``max_document_bytes`` is the largest file that is read;
    ``chunker`` is the name of what splits the sections of a document (see
    :mod:`lesson15.documents.chunkers`). ``roots`` are the real paths of the folders that documents
    must lie in, None for anywhere.
    """

    chunk_chars: int = 800
    chunk_overlap_chars: int = 80
    max_document_bytes: int = 50 * 1024 * 1024
    roots: Sequence[str] | None = None
    chunker: str = "default"

    @property
    def max_text_chars(self) -> int:
        """The most text, in characters, that one document may unfold to.

        Four times the file limit: room for every honest CSV, JSON or DOCX file, and an end to
        those whose small file stands for gigabytes.
        """
        return 4 * self.max_document_bytes


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document that no chunk reaches out of, such as a page or what is under a heading.

    Args:
        text: whole lines, without the newline after the last.
        kind: by which rules it is split.
        meta: what every chunk of it gets: see :class:`lesson15.models.Chunk`.
    """

    text: str
    kind: TextKind = "plain"
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    r"""What a loader makes of a file: its sections in order, and its title where that is known.

    Example:
        >>> LoadedDocument([Section("To be."), Section("Or not.", meta={"page": 2})]).text
        'To be.\nOr not.'
    """

    sections: Sequence[Section]
    title: str | None = None

    @property
    def text(self) -> str:
        """All of it, a newline between two sections."""
        return "\n".join(section.text for section in self.sections)


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """One document, read and split: ``sha256`` is the hex digest of the file's raw bytes."""

    chunks: list[Chunk]
    sha256: str
    fingerprint: Fingerprint
