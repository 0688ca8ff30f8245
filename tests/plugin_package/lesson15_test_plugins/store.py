"""A vector store in one NumPy file: exact, and enough for a few thousand chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


class NumpyStore:
    """All vectors in one array; written whole by :meth:`save`."""

    def __init__(self, path: Path, dimensions: int) -> None:
        self._file = path.with_suffix(".npz")
        self._dimensions = dimensions
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._rows = np.empty(0, np.int64)
        self._vectors = np.empty((0, self._dimensions), np.float32)

    def rows(self) -> Rows:
        """Every row."""
        return self._rows

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add ``vectors`` under ``rows``."""
        self._rows = np.concatenate([self._rows, rows])
        self._vectors = np.concatenate([self._vectors, vectors])

    def remove(self, rows: Rows) -> None:
        """Remove ``rows``; those that are not there are passed over."""
        kept = ~np.isin(self._rows, rows)
        self._rows, self._vectors = self._rows[kept], self._vectors[kept]

    def get(self, rows: Rows) -> Vectors:
        """The vectors under ``rows``; raises KeyError for an absent one."""
        places = {int(row): place for place, row in enumerate(self._rows)}
        return self._vectors[[places[int(row)] for row in rows]]

    def search(self, query: Vectors, k: int) -> list[tuple[int, float]]:
        """The ``k`` nearest rows with their scores, best first."""
        scores = self._vectors @ query
        best = np.argsort(-scores)[:k]
        return [(int(self._rows[place]), float(scores[place])) for place in best]

    def save(self, tag: str) -> None:
        """Write everything, marked with ``tag``, by rename."""
        temporary = self._file.with_suffix(".tmp.npz")
        np.savez(temporary, rows=self._rows, vectors=self._vectors, tag=np.array(tag))
        temporary.replace(self._file)

    def load(self) -> str | None:
        """Load what was saved; its tag, or None."""
        try:
            with np.load(self._file, allow_pickle=False) as saved:
                self._rows, self._vectors = saved["rows"], saved["vectors"]
                return str(saved["tag"])
        except (OSError, ValueError, KeyError):
            return None

    def close(self) -> None:
        """Release the memory."""
        self.clear()
