"""What is done to one document: parse it in isolation, embed its chunks, validate the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from lesson15.checkpoint.segment import Vectors
from lesson15.documents.parsed import ParsedDocument
from lesson15.errors import InvalidResultError
from lesson15.events import DocSettled


@dataclass(slots=True)
class SourceDocument:
    """A document to work on, the verdict that the batch has on it, and the worker that has it."""

    doc_id: str
    path: str
    previous: DocSettled | None = None
    worker: int | None = None

    @property
    def known_sha256(self) -> str | None:
        """The hash of the content that is in the index, None if there is none of it."""
        return self.previous.sha256 if self.previous and self.previous.chunks else None


@dataclass(slots=True)
class DocumentOutcome:
    """What a document came to. ``is_unchanged``: same content as the batch already has."""

    texts: list[str] = field(default_factory=list)
    vectors: Vectors | None = None
    sha256: str | None = None
    fingerprint: list[int] | None = None
    is_unchanged: bool = False


class DocumentWork(Protocol):
    """The work on one document; it raises what went wrong."""

    async def __call__(self, document: SourceDocument, /) -> DocumentOutcome:
        """Do it."""
        ...


class Parser(Protocol):
    """Reads, parses and chunks one file; see :mod:`lesson15.documents.isolation`."""

    async def parse(self, path: str) -> ParsedDocument:
        """The chunks of the file at ``path``."""
        ...


class ChunkEmbedding(Protocol):
    """Turns the chunks of one document into vectors; see :mod:`lesson15.embedding.batcher`."""

    async def embed(self, texts: list[str]) -> Vectors:
        """Vectors (len(texts) x dimensions)."""
        ...


class IndexingWork:
    """Parse, embed, validate: the work of a search index."""

    reads_files = True

    def __init__(self, parser: Parser, batcher: ChunkEmbedding, dimensions: int) -> None:
        self._parser = parser
        self._batcher = batcher
        self._dimensions = dimensions

    async def __call__(self, document: SourceDocument, /) -> DocumentOutcome:
        """Process ``document``.

        Raises:
            DocumentError: the document is at fault.
            NetworkTimeoutError, OutOfMemoryError, DocumentNotFoundError: see the policy table.
        """
        parsed = await self._parser.parse(document.path)
        fingerprint = parsed.fingerprint.to_list()
        if parsed.sha256 == document.known_sha256:
            return DocumentOutcome(sha256=parsed.sha256, fingerprint=fingerprint, is_unchanged=True)
        if not parsed.chunks:
            raise InvalidResultError(path=document.path, detail="no chunks")
        vectors = await self._batcher.embed(parsed.chunks)
        check_vectors(document.path, vectors, len(parsed.chunks), self._dimensions)
        return DocumentOutcome(parsed.chunks, vectors, parsed.sha256, fingerprint)


def check_vectors(path: str, vectors: Vectors, chunks: int, dimensions: int) -> None:
    """Check that there is one finite vector of length 1 for each chunk.

    Raises:
        InvalidResultError: there is not.
    """
    if vectors.shape != (chunks, dimensions):
        raise InvalidResultError(
            path=path, detail=f"vectors of shape {vectors.shape}, not {(chunks, dimensions)}"
        )
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.allclose(lengths, 1.0, atol=1e-3):  # False for NaN and infinity too
        raise InvalidResultError(path=path, detail="vectors that are not of length 1")
