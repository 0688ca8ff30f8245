"""The vector index of a batch: derived from catalogue and segment, and brought up to a commit.

Nothing is added to the index while a batch runs. At the end, and before a search, the rows that the
index has are compared with those that the catalogue names: what is gone is removed, what is new is
read from the segment. An index is begun anew only if it is not known to be of this batch.

A document whose block is damaged is left out, and whoever brings the index up is told. Such an
index is marked as partial, so that whoever loads it next is told as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from lesson15.checkpoint.journal import Position, check_end
from lesson15.checkpoint.segment import SegmentReader, Vectors
from lesson15.checkpoint.state_files import Commit
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.errors import CorruptCheckpointError, IndexBehindError
from lesson15.logs import get_logger
from lesson15.models import Chunk
from lesson15.stores.base import Rows, VectorStore
from lesson15.stores.catalog import Catalog

log = get_logger(__name__)
_NEWEST_BLOCKS = 8  # are looked at to find one that can be read
_VECTORS_AT_ONCE = 10_000
_INDEX_ERRORS = (OSError, MemoryError, RuntimeError)  # of the system; FAISS raises the last
_PARTIAL = ":partial"
_TAG = re.compile(rf"(\d+):([0-9a-f]{{8}})({_PARTIAL})?")


@dataclass(frozen=True, slots=True)
class BroughtUp:
    """What bringing an index up came to.

    Attributes:
        tag: the mark that it is to be saved with.
        has_changed: whether it must be saved.
        damaged: the ids of the documents that were left out, as their blocks are damaged.
    """

    tag: str
    has_changed: bool
    damaged: list[str]


def tag_of(commit: Commit, *, is_whole: bool = True) -> str:
    """The mark of an index that reflects ``commit``, but for damaged documents if not whole."""
    return f"{commit.journal_bytes}:{commit.journal_crc:08x}" + ("" if is_whole else _PARTIAL)


def bring_up(store: VectorStore, batch: StoredBatch, catalog: Catalog) -> BroughtUp:
    """Load ``store`` and make it reflect ``catalog``.

    Raises:
        CorruptCheckpointError: there are vectors, and none of them can be read.
        StateReadError: the segment cannot be read.
    """
    tag, whole = store.load(), tag_of(batch.commit)
    if tag == whole and catalog.position == batch.commit.position:
        return BroughtUp(whole, has_changed=False, damaged=[])
    first_rows, chunks = catalog.spans()
    wanted = np.repeat(first_rows - np.cumsum(chunks) + chunks, chunks) + np.arange(chunks.sum())
    is_earlier = tag is not None and _is_earlier(tag, batch)
    present = store.rows() if is_earlier else np.empty(0, np.int64)
    if not len(present) or len(np.unique(present)) != len(present):
        store.clear()
        present = np.empty(0, np.int64)
    if len(gone := np.setdiff1d(present, wanted)):
        store.remove(gone)
    missing = first_rows[~np.isin(first_rows, present)]
    damaged: dict[str, CorruptCheckpointError] = {}
    if len(missing):
        with batch.blocks() as blocks:
            damaged = _add(store, catalog, blocks, missing)
    if damaged and len(damaged) == len(first_rows):
        raise next(iter(damaged.values()))
    if damaged:
        log.warning(
            "documents left out of the index: their blocks are damaged; run `lesson15 repair`",
            batch=batch.batch_id,
            documents=len(damaged),
            first=next(iter(damaged)),
        )
    new = tag_of(batch.commit, is_whole=not damaged)
    return BroughtUp(new, has_changed=new != tag, damaged=list(damaged))


def read_newest(catalog: Catalog, blocks: SegmentReader) -> tuple[Vectors, list[Chunk]] | None:
    """Vectors (chunks x dimensions) and chunks of the newest document whose block can be read.

    Returns:
        None if no document has a block.

    Raises:
        CorruptCheckpointError: of the newest none can. One that is damaged by itself is no reason
            to stop: its document is left out of the index.
        StateReadError: the system refused.
    """
    failure: CorruptCheckpointError | None = None
    for document in catalog.newest(_NEWEST_BLOCKS):
        if document.block is None:
            continue
        try:
            return blocks.read(document.block)
        except CorruptCheckpointError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return None


def save_index(store: VectorStore, batch: StoredBatch, catalog: Catalog) -> None:
    """Bring ``store`` up to ``batch``, if it is not, persist it, and close it.

    Raises:
        IndexBehindError: the system refused.
        CorruptCheckpointError, StateReadError: as :func:`bring_up`.
    """
    try:
        if batch.commit.next_row:
            found = bring_up(store, batch, catalog)
            if found.has_changed:
                store.save(found.tag)
    except _INDEX_ERRORS as error:
        raise IndexBehindError(path=batch.folder.index, detail=error) from error
    finally:
        store.close()


def _is_earlier(tag: str, batch: StoredBatch) -> bool:
    """Whether an index with ``tag`` is of a commit of this very journal."""
    found = _TAG.fullmatch(tag)
    if found is None:
        return False
    try:
        check_end(batch.folder.journal, Position(int(found[1]), int(found[2], 16)))
    except CorruptCheckpointError:
        return False
    return True


def _add(
    store: VectorStore, catalog: Catalog, blocks: SegmentReader, missing: Rows
) -> dict[str, CorruptCheckpointError]:
    """Add the vectors of the documents whose first rows are ``missing`` (sorted).

    Returns:
        The ids of the documents whose blocks are damaged, and how.
    """
    damaged: dict[str, CorruptCheckpointError] = {}
    rows: list[Rows] = []
    vectors: list[Vectors] = []
    waiting = 0
    absent = set(missing.tolist())
    for document in catalog.with_vectors(int(missing[0])):
        if document.first_row not in absent or document.block is None:
            continue
        try:
            part, _ = blocks.read(document.block)
        except CorruptCheckpointError as error:
            damaged[document.doc_id] = error
            continue
        rows.append(np.arange(document.rows.start, document.rows.stop))
        vectors.append(part)
        waiting += document.chunks
        if waiting >= _VECTORS_AT_ONCE:
            store.add(np.concatenate(rows), np.concatenate(vectors))
            rows, vectors, waiting = [], [], 0
    if waiting:
        store.add(np.concatenate(rows), np.concatenate(vectors))
    return damaged
