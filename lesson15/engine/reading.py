"""Reading a batch: the lock, if it can be had, and the catalogue and index of one commit.

Readers bring what is derived up to the last commit, if they may write. Beside a process that works
on the batch, or on a read-only disk, they read without a lock and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lesson15.checkpoint.layout import BatchFolder, batch_lock
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.engine.index import rebuild_index, tag_of
from lesson15.errors import BatchLockedError, CheckpointWriteError
from lesson15.stores import VectorStore, open_store
from lesson15.stores.catalog import Catalog


@contextmanager
def reading_lock(folder: BatchFolder) -> Iterator[bool]:
    """Hold the lock of the batch; yields False where the disk lets nobody write.

    Raises:
        BatchLockedError: a process works on the batch.
    """
    lock = batch_lock(folder)
    try:
        lock.__enter__()
    except CheckpointWriteError:
        yield False
        return
    try:
        yield True
    finally:
        lock.__exit__(None, None, None)


def open_derived(batch: StoredBatch) -> tuple[StoredBatch, Catalog, VectorStore]:
    """The catalogue and the index of one commit, and the reading of the batch that they belong to.

    Raises:
        StorageError: the journal or the segment is damaged.
    """
    if not batch.is_live:
        with suppress(BatchLockedError), reading_lock(batch.folder) as is_locked:
            if is_locked:
                batch = batch.latest()
                return batch, *_brought_up(batch)
    return batch, *_as_it_stands(batch)


def _brought_up(batch: StoredBatch) -> tuple[Catalog, VectorStore]:
    """Catalogue and index, brought to the last commit as after a crash; under the lock."""
    folder, manifest, commit = batch.folder, batch.manifest, batch.commit
    Catalog.recover(batch).close()  # which seals it
    catalog = Catalog.snapshot(batch)
    store = open_store(manifest.store, folder.index, manifest.dimensions, batch.cipher)
    if commit.next_row and store.load() != tag_of(commit):
        with batch.blocks() as blocks:
            rebuild_index(store, catalog.scan_with_chunks(), blocks)
        with suppress(OSError):  # the index in memory answers as well
            store.save(tag_of(commit))
    return catalog, store


def _as_it_stands(batch: StoredBatch) -> tuple[Catalog, VectorStore]:
    """Catalogue and index without a lock: what is not on disk, or in use, is made in memory.

    FAISS holds vectors in memory, so it stands in for every kind of store.
    """
    catalog = Catalog.snapshot(batch)
    try:
        store = open_store("faiss", batch.folder.index, batch.manifest.dimensions, batch.cipher)
        is_saved = batch.manifest.store == "faiss" and catalog.position == batch.commit.position
        if not (is_saved and store.load() == tag_of(batch.commit)):
            with batch.blocks() as blocks:
                rebuild_index(store, catalog.scan_with_chunks(), blocks)
    except BaseException:
        catalog.close()
        raise
    return catalog, store
