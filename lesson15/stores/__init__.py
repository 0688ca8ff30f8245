"""What is derived from the journal and segment: the catalogue and the vector index."""

from __future__ import annotations

from pathlib import Path

from lesson15.stores.base import VectorStore

__all__ = ["VectorStore", "open_store"]


def open_store(name: str, path: Path, dimensions: int) -> VectorStore:
    """The vector store called ``name`` ("faiss" or "chroma") at ``path``."""
    if name == "faiss":
        from lesson15.stores.faiss_store import FaissStore

        return FaissStore(path, dimensions)
    if name == "chroma":
        from lesson15.stores.chroma_store import ChromaStore

        return ChromaStore(path, dimensions)
    raise ValueError(f"unknown store {name!r}: choose faiss or chroma")
