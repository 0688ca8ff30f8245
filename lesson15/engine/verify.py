"""Checking a batch from the ground up: every checksum, and every document once in the index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lesson15.checkpoint.documents import Commit
from lesson15.checkpoint.encryption import Cipher
from lesson15.checkpoint.journal import Record, read_journal
from lesson15.checkpoint.layout import BatchFolder, batch_lock
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.reducer import fold
from lesson15.checkpoint.segment import BlockRef, SegmentReader
from lesson15.engine.ledger import tag_of
from lesson15.errors import (
    BatchNotFoundError,
    CorruptCheckpointError,
    Lesson15Error,
    UsageError,
)
from lesson15.models import BatchState, BatchStatus
from lesson15.stores import VectorStore, open_store
from lesson15.stores.catalog import Catalog

_MAX_FAULTS = 100


@dataclass(slots=True)
class Verification:
    """What was checked and what was wrong. ``index`` is "current", "stale" (an interrupted
    batch: the next resume or search rebuilds it) or "empty".
    """

    batch_id: str
    status: str = ""
    journal_records: int = 0
    documents: int = 0
    chunks: int = 0
    index: str = ""
    faults: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """No fault was found."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """This verification as JSON-ready values, with ``ok``."""
        return {**asdict(self), "ok": self.is_clean}


def verify(batch_id: str, state_dir: Path | str) -> Verification:
    """Check ``batch_id``; nothing but lost derived files is changed.

    Raises:
        BatchNotFoundError: there is no such batch.
        BatchKeyError: it is encrypted, and its key is not at hand.
        BatchLockedError: it is being worked on.
    """
    manager = CheckpointManager(state_dir)
    folder = manager.folder(batch_id)
    result = Verification(batch_id)
    if not folder.has_batch:
        raise BatchNotFoundError(batch_id=batch_id, state_dir=state_dir)
    with batch_lock(folder):
        try:
            state, commit = manager.load(batch_id)
            manifest = manager.load_manifest(batch_id)
            folder, cipher = manager.folder(batch_id), manager.cipher(batch_id, commit)
            result.status = state.status.value
            live = _check_journal(folder, state, commit, cipher, result)
            with SegmentReader(folder.segment, cipher) as reader:
                rows, total = _check_segment(reader, live, result)
            _check_catalog(Catalog.recover(folder, commit, cipher), live, result)
        except UsageError:
            raise  # a key is missing: that says nothing of the batch
        except Lesson15Error as error:
            result.faults.append(str(error))
            return result
        store = open_store(manifest.store, folder.index, manifest.dimensions, cipher)
        try:
            _check_index(store, folder, commit, live, rows, state, result)
        finally:
            store.close()
        result.documents, result.chunks = len(live), total
    del result.faults[_MAX_FAULTS:]
    return result


def _check_journal(
    folder: BatchFolder,
    state: BatchState,
    commit: Commit,
    cipher: Cipher | None,
    result: Verification,
) -> dict[str, Record]:
    """Follow the checksum chain, and fold the records into counts that must be the state's."""
    live: dict[str, Record] = {}
    folded = BatchState(state.batch_id)
    for _, record in read_journal(folder.journal, stop=commit.position, cipher=cipher):
        result.journal_records += 1
        fold(folded, record)
        if record["t"] == "doc":
            _check_past(live, record, result)
            live[record["id"]] = record
        elif record["t"] == "gone":
            _check_past(live, record, result)
            live.pop(record["id"], None)
    for name in ("processed_docs", "failed_docs", "skipped_docs", "chunks"):
        if getattr(folded, name) != getattr(state, name):
            result.faults.append(
                f"{name} is {getattr(state, name)} in the checkpoint and "
                f"{getattr(folded, name)} in the journal"
            )
    found = Counter(record["s"] for record in live.values())
    expected = {
        "done": state.processed_docs, "failed": state.failed_docs, "skipped": state.skipped_docs
    }  # fmt: skip
    for status, count in expected.items():
        if found[status] != count:
            result.faults.append(
                f"{count} documents should be {status}, the journal has {found[status]}"
            )
    if state.status is BatchStatus.FINISHED and state.settled_docs != state.total_docs:
        result.faults.append(f"finished with {state.settled_docs} of {state.total_docs} documents")
    return live


def _check_past(live: dict[str, Record], record: Record, result: Verification) -> None:
    """A document settled twice in a run has no ``was``: that is work done double."""
    before = live.get(record["id"])
    if record.get("was") != (before["s"] if before else None):
        result.faults.append(f"{record['id']}: settled twice without having changed")


def _check_segment(
    reader: SegmentReader, live: dict[str, Record], result: Verification
) -> tuple[dict[int, np.ndarray], int]:
    """Read every live block, checking it, and return the vectors by row."""
    vectors: dict[int, np.ndarray] = {}
    for doc_id, record in live.items():
        if not record["n"]:
            continue
        try:
            part, texts = reader.read(BlockRef(*record["seg"]))
        except CorruptCheckpointError as error:
            result.faults.append(f"{doc_id}: {error}")
            continue
        if len(part) != record["n"] or len(texts) != record["n"]:
            result.faults.append(f"{doc_id}: {len(part)} vectors for {record['n']} chunks")
        for row, vector in enumerate(part, record["row"]):
            if row in vectors:
                result.faults.append(f"{doc_id}: row {row} belongs to two documents")
            vectors[row] = vector
    return vectors, sum(record["n"] for record in live.values())


def _check_catalog(catalog: Catalog, live: dict[str, Record], result: Verification) -> None:
    """The catalogue, brought to the commit, must say what the journal says."""
    try:
        seen = 0
        for row in catalog.scan():
            seen += 1
            record = live.get(row.doc_id)
            if record is None or (record["s"], record["n"]) != (row.status, row.chunks):
                result.faults.append(f"{row.doc_id}: the catalogue differs from the journal")
        if seen != len(live):
            result.faults.append(f"the catalogue has {seen} documents, the journal {len(live)}")
    finally:
        catalog.close()


def _check_index(
    store: VectorStore,
    folder: BatchFolder,
    commit: Commit,
    live: dict[str, Record],
    vectors: dict[int, np.ndarray],
    state: BatchState,
    result: Verification,
) -> None:
    """Every live row once in the index, none besides, each with the segment's vector."""
    if not commit.next_row:
        result.index = "empty"
        return
    if store.load() != tag_of(commit):
        result.index = "stale"
        if state.status is BatchStatus.FINISHED:
            result.faults.append(
                f"the index {folder.index} is missing, damaged or of another commit; "
                "`lesson15 search` or `lesson15 resume` rebuilds it"
            )
        return
    result.index = "current"
    counted = Counter(store.rows().tolist())
    for doc_id, rows in _rows_of(live):
        missing = [row for row in rows if not counted[row]]
        double = [row for row in rows if counted[row] > 1]
        if missing:
            result.faults.append(f"{doc_id}: {len(missing)} chunks are missing from the index")
        if double:
            result.faults.append(f"{doc_id}: {len(double)} chunks are double in the index")
    extra = counted.keys() - vectors.keys()
    if extra:
        result.faults.append(f"{len(extra)} vectors in the index belong to no document")
    known = np.array(sorted(counted.keys() & vectors.keys()), np.int64)
    if len(known):
        expected = np.stack([vectors[int(row)] for row in known])
        different = ~np.isclose(store.get(known), expected, atol=1e-5).all(axis=1)
        result.faults.extend(f"row {row}: another vector in the index" for row in known[different])


def _rows_of(live: dict[str, Record]) -> Iterator[tuple[str, range]]:
    for doc_id, record in live.items():
        if record["n"]:
            yield doc_id, range(record["row"], record["row"] + record["n"])
