"""The vector index of a batch: derived from catalogue and segment, and brought up to a commit.

Nothing is added to the index while a batch runs. At the end, and before a search, the rows that the
index has are compared with those that the catalogue names: what is gone is removed, what is new is
read from the segment. An index is begun anew only if it is not known to be of this batch.
"""

from __future__ import annotations

import re

import numpy as np

from lesson15.checkpoint.journal import Position, check_end
from lesson15.checkpoint.segment import SegmentReader, Vectors
from lesson15.checkpoint.state_files import Commit
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.errors import CheckpointWriteError, CorruptCheckpointError
from lesson15.stores.base import Rows, VectorStore
from lesson15.stores.catalog import Catalog

_VECTORS_AT_ONCE = 10_000
_INDEX_ERRORS = (OSError, MemoryError, RuntimeError)  # of the system; FAISS raises the last
_TAG = re.compile(r"(\d+):([0-9a-f]{8})")


def tag_of(commit: Commit) -> str:
    """The mark of an index that reflects ``commit``."""
    return f"{commit.journal_bytes}:{commit.journal_crc:08x}"


def bring_up(store: VectorStore, batch: StoredBatch, catalog: Catalog) -> bool:
    """Load ``store`` and make it reflect ``catalog``; returns whether that changed it.

    Raises:
        CorruptCheckpointError: a block of the segment is damaged.
    """
    tag = store.load()
    if tag == tag_of(batch.commit) and catalog.position == batch.commit.position:
        return False
    first_rows, chunks = catalog.spans()
    wanted = np.repeat(first_rows - np.cumsum(chunks) + chunks, chunks) + np.arange(chunks.sum())
    present = store.rows() if _is_earlier(tag, batch) else np.empty(0, np.int64)
    if not len(present) or len(np.unique(present)) != len(present):
        store.clear()
        present = np.empty(0, np.int64)
    store.remove(np.setdiff1d(present, wanted))
    missing = first_rows[~np.isin(first_rows, present)]
    if len(missing):
        with batch.blocks() as blocks:
            _add(store, catalog, blocks, missing)
    return True


def save_index(store: VectorStore, batch: StoredBatch, catalog: Catalog) -> None:
    """Bring ``store`` up to ``batch``, if it is not, persist it, and close it.

    Raises:
        CheckpointWriteError: the system refused.
        CorruptCheckpointError: a block of the segment is damaged.
    """
    try:
        if batch.commit.next_row and bring_up(store, batch, catalog):
            store.save(tag_of(batch.commit))
    except _INDEX_ERRORS as error:
        raise CheckpointWriteError(path=batch.folder.index, detail=error) from error
    finally:
        store.close()


def _is_earlier(tag: str | None, batch: StoredBatch) -> bool:
    """Whether an index with ``tag`` is of a commit of this very journal."""
    found = _TAG.fullmatch(tag or "")
    if found is None:
        return False
    try:
        check_end(batch.folder.journal, Position(int(found[1]), int(found[2], 16)))
    except CorruptCheckpointError:
        return False
    return True


def _add(store: VectorStore, catalog: Catalog, blocks: SegmentReader, missing: Rows) -> None:
    """Add the vectors of the documents whose first rows are ``missing`` (sorted)."""
    rows: list[Rows] = []
    vectors: list[Vectors] = []
    waiting = 0
    absent = set(missing.tolist())
    for document in catalog.with_vectors(int(missing[0])):
        if document.first_row not in absent or document.block is None:
            continue
        part, _ = blocks.read(document.block)
        rows.append(np.arange(document.rows.start, document.rows.stop))
        vectors.append(part)
        waiting += document.chunks
        if waiting >= _VECTORS_AT_ONCE:
            store.add(np.concatenate(rows), np.concatenate(vectors))
            rows, vectors, waiting = [], [], 0
    if waiting:
        store.add(np.concatenate(rows), np.concatenate(vectors))
