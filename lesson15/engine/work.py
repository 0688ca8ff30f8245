"""What is done to one document: parse it in isolation, take its chunks through the steps, embed
them, validate the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from lesson15.checkpoint.segment import Vectors
from lesson15.documents.parsed import ParsedDocument
from lesson15.engine.steps import Step
from lesson15.errors import InvalidResultError
from lesson15.events import DocSettled
from lesson15.models import Chunk


@dataclass(slots=True)
class SourceDocument:
    """A document to work on, the verdict that the batch has on it, and the worker that has it."""

    doc_id: str
    path: str
    previous: DocSettled | None = None
    worker: int | None = None


@dataclass(slots=True)
class DocumentOutcome:
    """What a document came to. ``is_unchanged``: same content as the batch already has."""

    chunks: list[Chunk] = field(default_factory=list)
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
    """Parse, steps, embed, validate: the work of a search index.

    Args:
        parser: reads and splits the document.
        batcher: makes the vectors.
        dimensions: of the vectors.
        steps: what is done to the chunks between the two, in order.
    """

    reads_files = True

    def __init__(
        self,
        parser: Parser,
        batcher: ChunkEmbedding,
        dimensions: int,
        steps: Sequence[Step] = (),
    ) -> None:
        self._parser = parser
        self._steps = steps
        self._batcher = batcher
        self._dimensions = dimensions

    async def __call__(self, document: SourceDocument, /) -> DocumentOutcome:
        """Process ``document``.

        Raises:
            DocumentError: the document is at fault, or a step.
            NetworkTimeoutError, OutOfMemoryError, DocumentNotFoundError: see the policy table.
        """
        parsed = await self._parser.parse(document.path)
        fingerprint = list(parsed.fingerprint)
        known = document.previous
        if known is not None and known.chunks and known.sha256 == parsed.sha256:
            return DocumentOutcome(sha256=parsed.sha256, fingerprint=fingerprint, is_unchanged=True)
        chunks = parsed.chunks
        for step in self._steps:
            chunks = await step(document.path, chunks)
        if not chunks:
            raise InvalidResultError(path=document.path, detail="no chunks")
        vectors = await self._batcher.embed([chunk.text for chunk in chunks])
        check_vectors(document.path, vectors, len(chunks), self._dimensions)
        return DocumentOutcome(chunks, vectors, parsed.sha256, fingerprint)


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
