"""The vector index of a batch, kept up to its commits.

The index is derived: it is loaded if its tag says that it reflects the commit at hand, and built
from the segment if not. It is opened with the first vector, and saved at the end of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lesson15.checkpoint.segment import SegmentReader, Vectors
from lesson15.checkpoint.state_files import Commit
from lesson15.errors import CheckpointWriteError
from lesson15.events import DocSettled
from lesson15.stores.base import VectorStore

_REBUILD_VECTORS = 10_000  # added at once
_INDEX_ERRORS = (OSError, MemoryError, RuntimeError)  # of the system; FAISS raises the last


def tag_of(commit: Commit) -> str:
    """The mark of an index that reflects ``commit``."""
    return f"{commit.journal_bytes}:{commit.journal_crc:08x}"


def rebuild_index(
    store: VectorStore, documents: Iterable[DocSettled], blocks: SegmentReader
) -> None:
    """Fill ``store`` with the vectors of ``documents``, each of which has some, from ``blocks``."""
    store.clear()
    rows: list[np.ndarray] = []
    vectors: list[Vectors] = []
    waiting = 0
    for document in documents:
        assert document.block is not None  # noqa: S101 - it has chunks
        rows.append(np.arange(document.rows.start, document.rows.stop))
        vectors.append(blocks.read(document.block)[0])
        waiting += document.chunks
        if waiting >= _REBUILD_VECTORS:
            store.add(np.concatenate(rows), np.concatenate(vectors))
            rows, vectors, waiting = [], [], 0
    if waiting:
        store.add(np.concatenate(rows), np.concatenate(vectors))


class BatchIndex:
    """The index of one batch while it is written to; used by one thread at a time.

    Args:
        path: where it lies, for messages.
        open_store: opens the store that holds it.
        fill: fills a store from the batch's committed documents.
    """

    def __init__(
        self,
        path: Path,
        open_store: Callable[[], VectorStore],
        fill: Callable[[VectorStore], None],
    ) -> None:
        self._path = path
        self._open_store = open_store
        self._fill = fill
        self._store: VectorStore | None = None

    def apply(self, before: Commit, added: list[tuple[int, Vectors]], removed: list[int]) -> None:
        """Bring the index from commit ``before`` to the next one, by what that one changed.

        Args:
            before: the commit that the index is taken to reflect.
            added: the first row of each new document, with its vectors (chunks x dimensions).
            removed: rows that are no more.

        Raises:
            CheckpointWriteError: the system refused.
        """
        if not added and not removed:
            return
        with self._named_errors():
            if self._store is None:
                self._store = self._open_store()
                is_new = not before.next_row
                if not is_new and self._store.load() != tag_of(before):
                    self._fill(self._store)  # from the catalogue, which has the change already
                    return
            if removed:
                self._store.remove(np.array(removed, np.int64))
            if added:
                rows = np.concatenate([np.arange(row, row + len(part)) for row, part in added])
                self._store.add(rows, np.concatenate([part for _, part in added]))

    def save(self, commit: Commit) -> None:
        """Persist the index as of ``commit``, if what is on disk is not that already.

        Raises:
            CheckpointWriteError: the system refused.
        """
        if not commit.next_row:
            return  # no vector was ever made
        with self._named_errors():
            if self._store is None:
                self._store = self._open_store()
                if self._store.load() == tag_of(commit):
                    return
                self._fill(self._store)
            self._store.save(tag_of(commit))

    def close(self) -> None:
        """Release files and memory."""
        if self._store is not None:
            self._store.close()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except _INDEX_ERRORS as error:
            raise CheckpointWriteError(path=self._path, detail=error) from error
