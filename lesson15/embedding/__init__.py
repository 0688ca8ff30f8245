"""Turning texts into vectors."""

from __future__ import annotations

from lesson15.embedding.base import Embedder
from lesson15.embedding.hashing import HashingEmbedder

__all__ = ["Embedder", "dimensions_of", "open_embedder"]

_DIMENSIONS = {"minilm": 384, "hashing": 256}


def dimensions_of(name: str) -> int:
    """The vector length of the embedder called ``name``, without loading it."""
    if name not in _DIMENSIONS:
        raise ValueError(f"unknown embedder {name!r}: choose {' or '.join(_DIMENSIONS)}")
    return _DIMENSIONS[name]


def open_embedder(name: str) -> Embedder:
    """The embedder called ``name`` ("minilm" or "hashing"); loading a model takes seconds.

    Raises:
        EmbeddingModelError: the model's files are missing or damaged.
    """
    dimensions = dimensions_of(name)
    if name == "hashing":
        return HashingEmbedder(dimensions)
    from lesson15.embedding.minilm import MiniLMEmbedder

    return MiniLMEmbedder()
