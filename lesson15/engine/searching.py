"""Searching the committed part of a batch, finished or not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from lesson15.checkpoint.documents import Manifest
from lesson15.checkpoint.encryption import Cipher
from lesson15.checkpoint.layout import BatchFolder, batch_lock, is_locked
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.segment import SegmentReader
from lesson15.embedding import Embedder, open_embedder
from lesson15.engine.ledger import rebuild_index, tag_of
from lesson15.errors import UsageError
from lesson15.models import SearchHit
from lesson15.stores import VectorStore, open_store
from lesson15.stores.catalog import Catalog


class Searcher:
    """Answers queries over one batch; opening it loads the index and the embedder.

    Raises:
        BatchNotFoundError: there is no such batch.
        StorageError: its state is damaged.
    """

    def __init__(
        self, batch_id: str, state_dir: Path | str, embedder: Embedder | None = None
    ) -> None:
        manager = CheckpointManager(state_dir)
        folder = manager.folder(batch_id)
        manifest = manager.load_manifest(batch_id)
        cipher = manager.cipher(batch_id, manager.load_commit(batch_id))
        self._embedder = embedder or open_embedder(manifest.embedder)
        self._segment = SegmentReader(folder.segment, cipher)
        self._catalog, self._store = _open_current(manager, manifest, folder, self._segment, cipher)

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
            if document is None:  # replaced by a batch that runs right now
                continue
            number = row - document.first_row
            chunks = self._segment.read(document.block)[1]
            hits.append(SearchHit.of(document.doc_id, number, score, chunks[number]))
        return hits

    def close(self) -> None:
        """Release files and memory."""
        self._segment.close()
        self._catalog.close()
        self._store.close()


def _open_current(
    manager: CheckpointManager,
    manifest: Manifest,
    folder: BatchFolder,
    segment: SegmentReader,
    cipher: Cipher | None,
) -> tuple[Catalog, VectorStore]:
    """The catalogue, and an index brought up to it.

    While another process works on the batch, and with its index, its catalogue is read as it
    stands, which is some commit, and indexed in memory; FAISS does that for every kind of store.
    Otherwise both are brought to the last commit first, as after a crash.
    """
    if is_locked(folder):
        catalog = Catalog(folder.catalog, cipher)
        store = open_store("faiss", folder.index, manifest.dimensions)  # in memory only
        rebuild_index(store, catalog, segment)
        return catalog, store
    with batch_lock(folder):
        commit = manager.load_commit(folder.batch_id)
        Catalog.recover(folder, commit, cipher).close()  # which seals it
        catalog = Catalog(folder.catalog, cipher)
        store = open_store(manifest.store, folder.index, manifest.dimensions, cipher)
        if commit.next_row and store.load() != tag_of(commit):
            rebuild_index(store, catalog, segment)
            with suppress(OSError):  # the index in memory answers as well
                store.save(tag_of(commit))
        return catalog, store
