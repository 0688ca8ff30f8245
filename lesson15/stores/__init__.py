"""What is derived from the journal and segment: the catalogue and the vector index."""

from __future__ import annotations

from pathlib import Path

from lesson15.checkpoint.encryption import Cipher
from lesson15.errors import UsageError
from lesson15.stores.base import VectorStore

__all__ = ["VectorStore", "check_encryptable", "open_store"]


def check_encryptable(name: str) -> None:
    """Raise UsageError if the store called ``name`` would keep vectors in clear."""
    if name == "chroma":
        raise UsageError(
            problem="Chroma keeps its files in clear, and an encryption key is set. Use "
            "--store faiss, or unset LESSON15_ENCRYPTION_KEY and LESSON15_ENCRYPTION_KEY_FILE."
        )


def open_store(name: str, path: Path, dimensions: int, cipher: Cipher | None = None) -> VectorStore:
    """The vector store called ``name`` ("faiss" or "chroma") at ``path``."""
    if name == "faiss":
        from lesson15.stores.faiss_store import FaissStore

        return FaissStore(path, dimensions, cipher)
    if name == "chroma":
        from lesson15.stores.chroma_store import ChromaStore

        return ChromaStore(path, dimensions)
    raise ValueError(f"unknown store {name!r}: choose faiss or chroma")
