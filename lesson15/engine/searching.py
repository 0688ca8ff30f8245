"""Searching the committed part of a batch, finished or not."""

from __future__ import annotations

from pathlib import Path

from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.segment import SegmentReader
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.embedding import Embedder, open_embedder
from lesson15.engine.reading import open_derived
from lesson15.errors import UsageError
from lesson15.models import SearchHit
from lesson15.stores import VectorStore
from lesson15.stores.catalog import Catalog


class Searcher:
    """Answers queries over one commit of a batch; opening it loads the index and the embedder.

    Args:
        batch_id: the batch.
        state_dir: folder of all batches' state, which may be read-only.
        embedder: what embeds queries; that of the batch by default.
        keys: the keys of encrypted batches; those of the environment by default.

    Raises:
        BatchNotFoundError: there is no such batch.
        StorageError: its state is damaged.
    """

    def __init__(
        self,
        batch_id: str,
        state_dir: Path | str = "checkpoints",
        embedder: Embedder | None = None,
        keys: Keyring | None = None,
    ) -> None:
        self._open(CheckpointManager(state_dir, keyring=keys).open(batch_id), embedder)

    @classmethod
    def of(cls, batch: StoredBatch, embedder: Embedder | None = None) -> Searcher:
        """A searcher on ``batch``, or on a later commit of it if there is one by now."""
        searcher = cls.__new__(cls)
        searcher._open(batch, embedder)
        return searcher

    def _open(self, batch: StoredBatch, embedder: Embedder | None) -> None:
        # First, as nothing has to be closed if it cannot be loaded.
        self._embedder = embedder or open_embedder(
            batch.manifest.embedder, batch.manifest.dimensions
        )
        batch, self._catalog, self._store, self._blocks = batch.use(_opened)

    def search(self, text: str, k: int = 5) -> list[SearchHit]:
        """The ``k`` chunks nearest to ``text``, best first.

        Raises:
            UsageError: an empty query, or ``k`` below 1.
        """
        if not text.strip():
            raise UsageError(problem="The query is empty: give some words to search for.")
        if k < 1:
            raise UsageError(problem=f"-k {k} is too small: give at least 1.")
        hits = []
        for row, score in self._store.search(self._embedder.embed([text])[0], k):
            document = self._catalog.owner_of(row)
            if document is None or document.block is None:
                continue
            number = row - document.rows.start
            chunks = self._blocks.read(document.block)[1]
            hits.append(SearchHit.of(document.doc_id, number, score, chunks[number]))
        return hits

    def close(self) -> None:
        """Release files and memory."""
        self._blocks.close()
        self._catalog.close()
        self._store.close()


def _opened(batch: StoredBatch) -> tuple[StoredBatch, Catalog, VectorStore, SegmentReader]:
    """All that a search needs, of one commit, from files that are open."""
    batch, catalog, store = open_derived(batch)
    blocks = batch.blocks()
    try:
        if batch.commit.next_row:
            blocks.open()
    except BaseException:
        catalog.close()
        store.close()
        raise
    return batch, catalog, store, blocks
