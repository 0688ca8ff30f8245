"""Chroma: a persistent collection in cosine space; needs ``pip install lesson15[chroma]``.

Its search is approximate: it may, rarely, pass over a vector. That of FAISS is exact.

Chroma keeps no checksums, and what a damaged file does to it ranges from an exception to wrong
answers. So the tag has a checksum of all its files, and a folder that does not match is thrown
away, unopened: it is derived.
"""

from __future__ import annotations

import json
import shutil
import threading
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from lesson15.errors import MissingDependencyError
from lesson15.stores.base import Rows, Vectors

_SLICE = 5000  # Chroma refuses larger writes
_clients = threading.Lock()  # Chroma counts the users of a folder, but not safely in threads

# With Chroma's own defaults (M 16, construction_ef 100) the graph falls apart where texts are much
# alike: of 300 vectors 123 were not found by themselves. With these all were, in 15
# graphs of 300 to 3,000 vectors; but one run of the tests missed one: the search is approximate.
_GRAPH = {"hnsw:space": "cosine", "hnsw:M": 64, "hnsw:construction_ef": 400, "hnsw:search_ef": 400}


class ChromaStore:
    """One collection per batch; Chroma writes as it goes, so ``save`` only records the tag."""

    def __init__(self, path: Path, dimensions: int) -> None:
        try:
            import chromadb
        except ImportError as error:
            raise MissingDependencyError(feature="--store chroma", package="chromadb") from error
        self._settings = chromadb.config.Settings(anonymized_telemetry=False)
        self._make_client = chromadb.PersistentClient
        self._folder = path.with_suffix(".chroma")
        self._tag = self._folder / "lesson15.tag"
        self._dimensions = dimensions
        self._client: Any = None
        self._opened: Any = None
        self._sealed: tuple[str, bytes] | None = None  # the tag, and the bytes of its file

    @property
    def _collection(self) -> Any:
        """The collection, which is opened when it is first used."""
        if self._opened is None:
            if self._client is None:
                self._folder.mkdir(exist_ok=True)
                with _clients:
                    self._client = self._make_client(
                        path=str(self._folder), settings=self._settings
                    )
            self._opened = self._client.get_or_create_collection(
                "chunks", metadata=_GRAPH, embedding_function=None
            )
        return self._opened

    def clear(self) -> None:
        """Forget everything."""
        self.close()
        if self._folder.exists():
            shutil.rmtree(self._folder)

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
        self.close()  # so that all of it is in the files
        self._seal(tag)

    def load(self) -> str | None:
        """The recorded tag; None if anything was written since, or a file is not as it was."""
        try:
            mark = json.loads(self._tag.read_bytes())
            if mark["crc"] != self._checksum():
                return None
            tag = str(mark["tag"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        self._seal(tag)
        return tag

    def _seal(self, tag: str) -> None:
        """Open the collection, which changes a file, and only then record the checksum."""
        assert self._collection is not None  # noqa: S101 - asking for it opens it
        self._write_mark(tag)

    def _write_mark(self, tag: str) -> None:
        mark = json.dumps({"tag": tag, "crc": self._checksum()}).encode()
        temporary = self._tag.with_name(self._tag.name + ".tmp")
        temporary.write_bytes(mark)
        temporary.replace(self._tag)
        self._sealed = tag, mark

    def _seal_again(self) -> None:
        """Reading changes files as well; nothing is done if another process has written since."""
        if self._sealed is None:
            return
        (tag, mark), self._sealed = self._sealed, None
        with suppress(OSError):  # without a sound mark it is made anew
            if self._tag.read_bytes() == mark:
                self._write_mark(tag)
        self._sealed = None

    def _checksum(self) -> int:
        """Of the names and bytes of all of Chroma's files."""
        crc = 0
        for path in sorted(self._folder.rglob("*")):
            if path.is_dir() or path.name.startswith(self._tag.name):
                continue
            crc = zlib.crc32(str(path.relative_to(self._folder)).encode(), crc)
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    crc = zlib.crc32(block, crc)
        return crc

    def close(self) -> None:
        """Release the client: one that stayed open would not see what other processes write."""
        client, self._client, self._opened = self._client, None, None
        if client is not None:
            with _clients:
                client.close()
            self._seal_again()
