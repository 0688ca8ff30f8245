"""FAISS: an exact inner-product index in memory, saved to one file with a checksum beside it.

Of an encrypted batch the file is sealed in pieces, each bound to its number and to the commit.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from lesson15.checkpoint.encryption import OVERHEAD, Cipher
from lesson15.errors import CorruptCheckpointError
from lesson15.stores.base import Rows, Vectors

_PIECE_BYTES = 64 * 1024 * 1024  # AES-GCM takes 2 GiB at most at once


class FaissStore:
    """An ``IndexIDMap2`` over an ``IndexFlatIP``: exact, and cosine for normalised vectors."""

    def __init__(self, path: Path, dimensions: int, cipher: Cipher | None = None) -> None:
        self._cipher = cipher
        self._file = path.with_suffix(".faiss")
        self._tag = path.with_suffix(".faiss.json")
        self._dimensions = dimensions
        self._index: Any = None
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(self._dimensions))

    def rows(self) -> Rows:
        """Every row in the index."""
        return np.asarray(faiss.vector_to_array(self._index.id_map), dtype=np.int64)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add ``vectors`` (n x dimensions) under ``rows`` (n)."""
        if len(rows):
            self._index.add_with_ids(np.ascontiguousarray(vectors), rows)

    def remove(self, rows: Rows) -> None:
        """Remove ``rows``; those that are not there are passed over."""
        if len(rows):
            self._index.remove_ids(faiss.IDSelectorBatch(rows))

    def get(self, rows: Rows) -> Vectors:
        """The vectors under ``rows`` (n x dimensions); raises KeyError for an absent one."""
        if not len(rows):
            return np.empty((0, self._dimensions), np.float32)
        try:
            return np.stack([self._index.reconstruct(int(row)) for row in rows])
        except RuntimeError as error:
            raise KeyError(str(error)) from error

    def search(self, query: Vectors, k: int) -> list[tuple[int, float]]:
        """The ``k`` rows nearest to ``query`` (dimensions), best first, with their scores."""
        k = min(k, self._index.ntotal)
        if not k:
            return []
        scores, rows = self._index.search(query.reshape(1, -1), k)
        return [
            (int(row), float(score))
            for row, score in zip(rows[0], scores[0], strict=True)
            if row >= 0
        ]

    def save(self, tag: str) -> None:
        """Write the index, then the tag with the index's checksum; both by rename."""
        data = faiss.serialize_index(self._index).tobytes()
        if self._cipher is not None:
            data = b"".join(self._sealed(data, tag))
        self._write(self._file, data)
        mark = {"tag": tag, "crc": zlib.crc32(data), "vectors": int(self._index.ntotal)}
        self._write(self._tag, json.dumps(mark).encode())

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_bytes(data)
        temporary.replace(path)

    def load(self) -> str | None:
        """Load the file if its checksum holds; the index is derived, so a bad one is ignored."""
        try:
            mark = json.loads(self._tag.read_bytes())
            data = self._file.read_bytes()
            if zlib.crc32(data) != mark["crc"]:
                return None
            tag = str(mark["tag"])
            if self._cipher is not None:
                data = b"".join(self._opened(data, tag))
            self._index = faiss.deserialize_index(np.frombuffer(data, np.uint8))
            return tag
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, CorruptCheckpointError):
            return None

    def _sealed(self, data: bytes, tag: str) -> Iterator[bytes]:
        assert self._cipher is not None  # noqa: S101 - the caller has looked
        for number, start in enumerate(range(0, len(data), _PIECE_BYTES)):
            piece = data[start : start + _PIECE_BYTES]
            yield self._cipher.seal(piece, f"index:{tag}:{number}")

    def _opened(self, data: bytes, tag: str) -> Iterator[bytes]:
        assert self._cipher is not None  # noqa: S101 - the caller has looked
        size = _PIECE_BYTES + OVERHEAD
        for number, start in enumerate(range(0, len(data), size)):
            piece = data[start : start + size]
            yield self._cipher.open(piece, f"index:{tag}:{number}", self._file)

    def close(self) -> None:
        """Release the memory."""
        self.clear()
