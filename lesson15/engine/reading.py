"""Reading a batch: the lock, if it can be had, and the catalogue and index of one commit.

Readers bring what is derived up to the last commit, if they may write. Beside a process that works
on the batch, or on a read-only disk, they read without a lock and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import NamedTuple

from lesson15.checkpoint.layout import BatchFolder, batch_lock
from lesson15.checkpoint.state_files import Manifest
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.engine.index import bring_up
from lesson15.errors import BatchLockedError, CatalogError, CheckpointWriteError, StoreError
from lesson15.stores import VectorStore, open_store
from lesson15.stores.catalog import Catalog


@contextmanager
def reading_lock(folder: BatchFolder) -> Iterator[bool]:
    """Hold the lock of the batch; yields False where the disk lets nobody write.

    Raises:
        BatchLockedError: a process works on the batch.
    """
    with ExitStack() as stack:
        is_locked = True
        try:
            stack.enter_context(batch_lock(folder))
        except CheckpointWriteError:
            is_locked = False
        yield is_locked


class Derived(NamedTuple):
    """What is derived of one commit, and the manifest of its generation.

    ``damaged`` are the ids of documents that the index lacks.
    """

    batch: StoredBatch
    catalog: Catalog
    store: VectorStore
    damaged: list[str]
    manifest: Manifest


def open_derived(batch: StoredBatch) -> Derived:
    """The catalogue and the index of one commit, and the reading of the batch that they belong to.

    Raises:
        StorageError: the journal is damaged, or nothing of the segment can be read.
    """
    if not batch.is_live:
        with suppress(BatchLockedError), reading_lock(batch.folder) as is_locked:
            if is_locked:
                batch = batch.latest()
                with suppress(CatalogError, StoreError):  # a full disk: what is in memory will do
                    return _brought_up(batch)
    return _as_it_stands(batch)


def _brought_up(batch: StoredBatch) -> Derived:
    """Catalogue and index, brought to the last commit as after a crash; under the lock."""
    manifest = batch.manifest
    Catalog.recover(batch).close()  # which seals it
    with ExitStack() as stack:
        catalog = stack.enter_context(closing(Catalog.snapshot(batch)))
        store = stack.enter_context(
            closing(
                open_store(manifest.store, batch.folder.index, manifest.dimensions, batch.cipher)
            )
        )
        damaged: list[str] = []
        if batch.commit.next_row:
            found = bring_up(store, batch, catalog)
            damaged = found.damaged
            if found.has_changed:
                with suppress(OSError):  # the index in memory answers as well
                    store.save(found.tag)
        stack.pop_all()
        return Derived(batch, catalog, store, damaged, manifest)


def _as_it_stands(batch: StoredBatch) -> Derived:
    """Catalogue and index without a lock: what is not on disk, or in use, is made in memory.

    FAISS holds vectors in memory, so it stands in for every kind of store.
    """
    manifest = batch.read_manifest()
    catalog = Catalog.snapshot(batch)
    store = open_store("faiss", batch.folder.index, manifest.dimensions, batch.cipher)
    try:
        damaged = bring_up(store, batch, catalog).damaged if batch.commit.next_row else []
    except BaseException:
        catalog.close()
        store.close()
        raise
    return Derived(batch, catalog, store, damaged, manifest)
