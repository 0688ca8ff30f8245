"""The port of an embedding model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """A deterministic map from texts to vectors of length 1."""

    name: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors (len(texts) x dimensions, float32, normalised), in the order of ``texts``.

        Blocking; the engine calls it from one thread only, but see :class:`ParallelEmbedder`.
        """
        ...


@runtime_checkable
class ParallelEmbedder(Embedder, Protocol):
    """An embedder that may be called from ``threads`` threads at once."""

    threads: int

    def begin_thread(self) -> None:
        """Prepare the calling thread; called in each of the engine's threads before its first."""
        ...
