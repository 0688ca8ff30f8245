"""What is derived from the journal and segment: the catalogue and the vector index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lesson15.checkpoint.encryption import Cipher
from lesson15.errors import UsageError
from lesson15.plugins import Group, check_name, load
from lesson15.stores.base import VectorStore
from lesson15.stores.guard import GuardedStore

__all__ = ["BUILT_IN", "VectorStore", "check_encryptable", "open_store"]

BUILT_IN = ("faiss", "chroma")


def check_encryptable(name: str) -> None:
    """Raise UsageError if the store called ``name`` would keep vectors in clear."""
    if name != "faiss":
        raise UsageError(
            problem=f"The store {name!r} keeps its files in clear, and an encryption key is set. "
            "Use --store faiss, or unset LESSON15_ENCRYPTION_KEY and LESSON15_ENCRYPTION_KEY_FILE."
        )


def open_store(name: str, path: Path, dimensions: int, cipher: Cipher | None = None) -> VectorStore:
    """The vector store called ``name`` (faiss, chroma or a plugin's) at ``path``.

    Raises:
        UnknownNameError: there is none.
        PluginError: the plugin is broken.
        StoreError: the store failed; its methods raise that, too.
    """
    check_name(Group.STORES, name, BUILT_IN)
    if name == "faiss":
        from lesson15.stores.faiss_store import FaissStore

        return FaissStore(path, dimensions, cipher)
    if name == "chroma":
        from lesson15.stores.chroma_store import ChromaStore

        return GuardedStore(name, path, lambda: ChromaStore(path, dimensions))
    make: Callable[[Path, int], VectorStore] = load(Group.STORES, name, BUILT_IN)
    return GuardedStore(name, path, lambda: make(path, dimensions))
