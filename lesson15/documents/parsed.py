"""The values that pass between reading, splitting and the engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

TextKind = Literal["plain", "markdown"]


@dataclass(frozen=True, slots=True)
class Fingerprint:
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

    def to_list(self) -> list[int]:
        """``[size, mtime_ns, ctime_ns]``, ready for JSON."""
        return [self.size, self.mtime_ns, self.ctime_ns]


@dataclass(frozen=True, slots=True)
class ParseOptions:
    """How documents are read and split.

    ``chunk_chars`` and ``chunk_overlap_chars`` count characters of English (see
    :mod:`lesson15.documents.chunking`); ``max_document_bytes`` is the largest file that is read.
    ``roots`` are the real paths of the folders that documents must lie in, None for anywhere.
    """

    chunk_chars: int = 800
    chunk_overlap_chars: int = 80
    max_document_bytes: int = 50 * 1024 * 1024
    roots: Sequence[str] | None = None

    @property
    def max_text_chars(self) -> int:
        """The most text, in characters, that one document may unfold to.

        Four times the file limit: room for every honest CSV, JSON or DOCX file, and an end to
        those whose small file stands for gigabytes.
        """
        return 4 * self.max_document_bytes


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """One document, read and split: ``sha256`` is the hex digest of the file's raw bytes."""

    chunks: list[str]
    sha256: str
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True)
class LoadedText:
    """The text of one document, and by which rules it is to be split."""

    text: str
    kind: TextKind = "plain"
