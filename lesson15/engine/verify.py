"""Checking a batch from the ground up: every checksum, and every document once in the index."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.reducer import fold
from lesson15.checkpoint.segment import SegmentReader
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.engine.index import tag_of
from lesson15.engine.reading import reading_lock
from lesson15.errors import (
    BatchNotFoundError,
    CatalogError,
    CorruptCheckpointError,
    Lesson15Error,
    StateReadError,
    StoreError,
    UsageError,
)
from lesson15.events import DocRemoved, DocSettled
from lesson15.models import BatchState, BatchStatus, DocStatus
from lesson15.stores import VectorStore, open_store
from lesson15.stores.catalog import Catalog

_MAX_FAULTS = 100
_COUNTED = {
    "processed_docs": DocStatus.DONE,
    "failed_docs": DocStatus.FAILED,
    "skipped_docs": DocStatus.SKIPPED,
}


@dataclass(slots=True)
class Verification:
    """What was checked and what was wrong.

    ``index`` is "current", "partial" (it lacks damaged documents), "stale" (an interrupted batch:
    the next resume or search rebuilds it), "empty", or "unchecked" (it cannot be opened on a
    read-only disk). ``damaged`` are the ids of documents whose blocks are damaged, and ``remedy``
    is what to do about the faults.
    """

    batch_id: str
    status: str = ""
    journal_records: int = 0
    documents: int = 0
    chunks: int = 0
    index: str = ""
    faults: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    @property
    def remedy(self) -> str | None:
        """The command that mends the faults, None if there are none."""
        return f"lesson15 repair {self.batch_id}" if self.faults else None

    @property
    def is_clean(self) -> bool:
        """No fault was found."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """This verification as JSON-ready values, with ``ok``."""
        return {**asdict(self), "remedy": self.remedy, "ok": self.is_clean}


def verify(batch_id: str, state_dir: Path | str, keys: Keyring | None = None) -> Verification:
    """Check ``batch_id``; nothing but lost derived files is changed, on a read-only disk nothing.

    Args:
        batch_id: the batch.
        state_dir: folder of all batches' state.
        keys: the keys of encrypted batches; those of the environment by default.

    Raises:
        BatchNotFoundError: there is no such batch.
        BatchKeyError: it is encrypted, and its key is not at hand.
        BatchLockedError: it is being worked on.
        StateReadError: the system refuses to read a file, which tells nothing of the file.
    """
    manager = CheckpointManager(state_dir, keyring=keys, makes_folder=False)
    result = Verification(batch_id)
    if not manager.folder(batch_id).has_batch:
        raise BatchNotFoundError(batch_id=batch_id, state_dir=state_dir)
    with _faults_into(result), reading_lock(manager.folder(batch_id)) as is_locked:
        _Check(manager.open(batch_id), result, is_locked).run()
    return result


def verify_batch(batch: StoredBatch) -> Verification:
    """As :func:`verify`, of a batch that is open; raises BatchLockedError."""
    result = Verification(batch.batch_id)
    with _faults_into(result), reading_lock(batch.folder) as is_locked:
        _Check(batch.latest(), result, is_locked).run()
    return result


@contextmanager
def _faults_into(result: Verification) -> Iterator[None]:
    """Put errors that tell of damage into ``result``."""
    try:
        yield
    except (UsageError, StateReadError, StoreError):
        raise  # locked, a key is missing, an error of the disk: that says nothing of the batch
    except Lesson15Error as error:
        result.faults.append(str(error))
    del result.faults[_MAX_FAULTS:]


class _Check:
    """The check of one batch; its findings go into ``result``."""

    def __init__(self, batch: StoredBatch, result: Verification, is_locked: bool) -> None:
        self._batch = batch
        self._result = result
        self._is_locked = is_locked
        self._live: dict[str, DocSettled] = {}
        self._vectors: dict[int, np.ndarray] = {}

    def run(self) -> None:
        batch, result = self._batch, self._result
        result.status = batch.state.status.value
        manifest = batch.manifest
        self._check_journal()
        with batch.blocks() as blocks:
            self._check_segment(blocks)
        with closing(self._open_catalog()) as catalog:
            self._check_catalog(catalog)
        with (
            self._index_path() as path,
            closing(open_store(manifest.store, path, manifest.dimensions, batch.cipher)) as store,
        ):
            self._check_index(store)
        result.documents = len(self._live)
        result.chunks = sum(event.chunks for event in self._live.values())

    @contextmanager
    def _index_path(self) -> Iterator[Path]:
        """Where the index lies: in a copy if nobody can write there, as a store may have to."""
        path = self._batch.folder.index
        if self._is_locked or self._batch.manifest.store == "faiss":
            yield path
            return
        with TemporaryDirectory() as folder:
            for part in path.parent.glob(f"{path.name}*"):
                copy = Path(folder, part.name)
                if part.is_dir():
                    shutil.copytree(part, copy)
                else:
                    shutil.copyfile(part, copy)
                for item in (copy, *copy.rglob("*")):
                    item.chmod(0o700)
            yield Path(folder, path.name)

    def _open_catalog(self) -> Catalog:
        if self._is_locked:
            with suppress(CatalogError):  # a full disk is no fault of the batch
                return Catalog.recover(self._batch)
        return Catalog.snapshot(self._batch)

    def _fault(self, text: str) -> None:
        self._result.faults.append(text)

    def _check_journal(self) -> None:
        """Follow the checksum chain, and fold the events into counts that must be the state's."""
        state = self._batch.state
        folded = BatchState(state.batch_id)
        for event in self._batch.events():
            self._result.journal_records += 1
            fold(folded, event)
            if isinstance(event, DocSettled | DocRemoved):
                self._check_past(event)
            if isinstance(event, DocSettled):
                self._live[event.doc_id] = event
            elif isinstance(event, DocRemoved):
                self._live.pop(event.doc_id, None)
        found = Counter(event.status for event in self._live.values())
        for name in (*_COUNTED, "chunks"):
            expected = getattr(state, name)
            if getattr(folded, name) != expected:
                self._fault(
                    f"{name} is {expected} in the checkpoint and {getattr(folded, name)} in the "
                    "journal"
                )
            if name in _COUNTED and found[_COUNTED[name]] != expected:
                status = _COUNTED[name].value
                self._fault(
                    f"{expected} documents should be {status}, the journal has "
                    f"{found[_COUNTED[name]]}"
                )
        if state.status is BatchStatus.FINISHED and state.settled_docs != state.total_docs:
            self._fault(f"finished with {state.settled_docs} of {state.total_docs} documents")

    def _check_past(self, event: DocSettled | DocRemoved) -> None:
        """A document settled twice in a run replaces nothing: that is work done double."""
        before = self._live.get(event.doc_id)
        if event.previous_status != (before.status if before else None):
            self._fault(f"{event.doc_id}: settled twice without having changed")

    def _check_segment(self, blocks: SegmentReader) -> None:
        """Read every live block, checking it, and keep the vectors by row."""
        for event in self._with_chunks():
            try:
                assert event.block is not None  # noqa: S101 - it has chunks
                vectors, texts = blocks.read(event.block)
            except CorruptCheckpointError as error:
                self._fault(f"{event.doc_id}: {error}")
                self._result.damaged.append(event.doc_id)
                continue
            if len(vectors) != event.chunks or len(texts) != event.chunks:
                self._fault(f"{event.doc_id}: {len(vectors)} vectors for {event.chunks} chunks")
            for row, vector in enumerate(vectors, event.rows.start):
                if row in self._vectors:
                    self._fault(f"{event.doc_id}: row {row} belongs to two documents")
                self._vectors[row] = vector

    def _with_chunks(self) -> Iterator[DocSettled]:
        return (event for event in self._live.values() if event.chunks)

    def _check_catalog(self, catalog: Catalog) -> None:
        """The catalogue, brought to the commit, must say what the journal says."""
        seen = 0
        for row in catalog.scan():
            seen += 1
            event = self._live.get(row.doc_id)
            if event is None or (event.status, event.chunks) != (row.status, row.chunks):
                self._fault(f"{row.doc_id}: the catalogue differs from the journal")
        if seen != len(self._live):
            self._fault(f"the catalogue has {seen} documents, the journal {len(self._live)}")

    def _check_index(self, store: VectorStore) -> None:
        """Every live row once in the index, none besides, each with the segment's vector."""
        batch, result = self._batch, self._result
        if not batch.commit.next_row:
            result.index = "empty"
            return
        tag = store.load()
        is_partial = tag == tag_of(batch.commit, is_whole=False) and bool(result.damaged)
        if tag != tag_of(batch.commit) and not is_partial:
            result.index = "stale"
            if batch.state.status is BatchStatus.FINISHED:
                self._fault(
                    f"the index {batch.folder.index} is missing, damaged or of another commit; "
                    "`lesson15 search` or `lesson15 resume` rebuilds it"
                )
            return
        result.index = "partial" if is_partial else "current"
        damaged = set(result.damaged)
        unknown = {
            row for event in self._with_chunks() if event.doc_id in damaged for row in event.rows
        }
        counted = Counter(store.rows().tolist())
        for event in self._with_chunks():
            if event.doc_id in damaged:
                continue
            missing = [row for row in event.rows if not counted[row]]
            double = [row for row in event.rows if counted[row] > 1]
            if missing:
                self._fault(f"{event.doc_id}: {len(missing)} chunks are missing from the index")
            if double:
                self._fault(f"{event.doc_id}: {len(double)} chunks are double in the index")
        extra = counted.keys() - self._vectors.keys() - unknown
        if extra:
            self._fault(f"{len(extra)} vectors in the index belong to no document")
        known = np.array(sorted(counted.keys() & self._vectors.keys()), np.int64)
        if len(known):
            expected = np.stack([self._vectors[int(row)] for row in known])
            different = ~np.isclose(store.get(known), expected, atol=1e-5).all(axis=1)
            for row in known[different]:
                self._fault(f"row {row}: another vector in the index")
