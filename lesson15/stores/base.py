"""The port of a vector index. Rows are the numbers that the batch gives its vectors."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


class VectorStore(Protocol):
    """A derived index of normalised vectors; scores are cosine similarities.

    One process at a time has it open: the one that holds the batch's lock.
    """

    def rows(self) -> Rows:
        """Every row in the index, in any order; a row that is there twice appears twice."""
        ...

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add ``vectors`` (n x dimensions) under ``rows`` (n)."""
        ...

    def remove(self, rows: Rows) -> None:
        """Remove ``rows``; those that are not there are passed over."""
        ...

    def get(self, rows: Rows) -> Vectors:
        """The vectors stored under ``rows`` (n x dimensions); raises KeyError for an absent one."""
        ...

    def search(self, query: Vectors, k: int) -> list[tuple[int, float]]:
        """The ``k`` rows nearest to ``query`` (dimensions), best first, with their scores."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...

    def save(self, tag: str) -> None:
        """Persist the index, marked with ``tag``, the commit that it reflects."""
        ...

    def load(self) -> str | None:
        """Load what was persisted; its tag, or None if there is nothing sound to load."""
        ...

    def close(self) -> None:
        """Release files and memory."""
        ...
