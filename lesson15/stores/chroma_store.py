"""Chroma: a persistent collection in cosine space; needs ``pip install lesson15[chroma]``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from lesson15.errors import MissingDependencyError
from lesson15.stores.base import Rows, Vectors

_SLICE = 5000  # Chroma refuses larger writes
_clients = threading.Lock()  # Chroma counts the users of a folder, but not safely in threads

# With Chroma's own defaults (M 16, construction_ef 100) the graph falls apart where texts are much
# alike: of 300 vectors 123 were not found by themselves. With these all were.
_GRAPH = {"hnsw:space": "cosine", "hnsw:M": 64, "hnsw:construction_ef": 400, "hnsw:search_ef": 400}


class ChromaStore:
    """One collection per batch; Chroma writes as it goes, so ``save`` only records the tag."""

    def __init__(self, path: Path, dimensions: int) -> None:
        try:
            import chromadb
        except ImportError as error:
            raise MissingDependencyError(feature="--store chroma", package="chromadb") from error
        folder = path.with_suffix(".chroma")
        folder.mkdir(exist_ok=True)
        self._tag = folder / "lesson15.tag"
        self._dimensions = dimensions
        settings = chromadb.config.Settings(anonymized_telemetry=False)
        with _clients:
            self._client: Any = chromadb.PersistentClient(path=str(folder), settings=settings)
        self._collection: Any = self._make()

    def _make(self) -> Any:
        return self._client.get_or_create_collection(
            "chunks", metadata=_GRAPH, embedding_function=None
        )

    def clear(self) -> None:
        """Forget everything."""
        self._client.delete_collection("chunks")
        self._tag.unlink(missing_ok=True)
        self._collection = self._make()

    def rows(self) -> Rows:
        """Every row in the collection."""
        return np.array([int(i) for i in self._collection.get(include=[])["ids"]], np.int64)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add ``vectors`` (n x dimensions) under ``rows`` (n)."""
        self._tag.unlink(missing_ok=True)
        for start in range(0, len(rows), _SLICE):
            part = slice(start, start + _SLICE)
            self._collection.upsert(ids=[str(row) for row in rows[part]], embeddings=vectors[part])

    def remove(self, rows: Rows) -> None:
        """Remove ``rows``; those that are not there are passed over."""
        self._tag.unlink(missing_ok=True)
        for start in range(0, len(rows), _SLICE):
            self._collection.delete(ids=[str(row) for row in rows[start : start + _SLICE]])

    def get(self, rows: Rows) -> Vectors:
        """The vectors under ``rows`` (n x dimensions); raises KeyError for an absent one."""
        if not len(rows):
            return np.empty((0, self._dimensions), np.float32)
        ids = [str(row) for row in rows]
        found = self._collection.get(ids=ids, include=["embeddings"])
        by_id = dict(zip(found["ids"], found["embeddings"], strict=True))
        return np.array([by_id[i] for i in ids], np.float32)

    def search(self, query: Vectors, k: int) -> list[tuple[int, float]]:
        """The ``k`` rows nearest to ``query`` (dimensions), best first, with their scores."""
        k = min(k, self._collection.count())
        if not k:
            return []
        found = self._collection.query(
            query_embeddings=query.reshape(1, -1), n_results=k, include=["distances"]
        )
        return [
            (int(i), 1.0 - float(distance))
            for i, distance in zip(found["ids"][0], found["distances"][0], strict=True)
        ]

    def save(self, tag: str) -> None:
        """Record that the collection reflects the commit ``tag``."""
        self._tag.write_text(tag, encoding="utf-8")

    def load(self) -> str | None:
        """The recorded tag; None if anything was written since."""
        try:
            return self._tag.read_text(encoding="utf-8")
        except OSError:
            return None

    def close(self) -> None:
        """Release the client: one that stayed open would not see what other processes write."""
        with _clients:
            self._client.close()
