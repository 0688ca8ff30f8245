"""Where outcomes go: appended to the batch log, committed in groups, applied to what is derived.

All blocking calls run in one thread of the ledger's own. While a commit runs nothing is appended,
so a crash undoes at most one checkpoint interval and what was in flight.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from lesson15.checkpoint.batch_log import BatchLog
from lesson15.checkpoint.documents import Commit
from lesson15.checkpoint.journal import Record
from lesson15.checkpoint.segment import SegmentReader, Vectors
from lesson15.engine.work import DocumentOutcome, SourceDocument
from lesson15.errors import CheckpointWriteError
from lesson15.models import DocStatus
from lesson15.stores.base import VectorStore
from lesson15.stores.catalog import Catalog

T = TypeVar("T")
_REBUILD_VECTORS = 10_000
INDEX_ERRORS = (OSError, MemoryError, RuntimeError)  # of the system; FAISS raises the last


def tag_of(commit: Commit) -> str:
    """The mark of an index that reflects ``commit``."""
    return f"{commit.journal_bytes}:{commit.journal_crc:08x}"


def message_of(error: Exception) -> str:
    """What ``error`` says, as UTF-8, which the paths in it may not be."""
    message = str(error) or type(error).__name__
    return message.encode("utf-8", "backslashreplace").decode()


def rebuild_index(store: VectorStore, catalog: Catalog, reader: SegmentReader) -> None:
    """Fill ``store`` from the segment with every document of ``catalog``."""
    store.clear()
    rows: list[np.ndarray] = []
    vectors: list[Vectors] = []
    waiting = 0
    for document in catalog.scan_with_chunks():
        part, _ = reader.read(document.block)
        rows.append(np.arange(document.first_row, document.first_row + document.chunks))
        vectors.append(part)
        waiting += document.chunks
        if waiting >= _REBUILD_VECTORS:
            store.add(np.concatenate(rows), np.concatenate(vectors))
            rows, vectors, waiting = [], [], 0
    if waiting:
        store.add(np.concatenate(rows), np.concatenate(vectors))


class Ledger:
    """One batch's log, catalogue and index, written together."""

    def __init__(
        self,
        log: BatchLog,
        catalog: Catalog,
        open_store: Callable[[], VectorStore],
        interval: int,
    ) -> None:
        self.log = log
        self.catalog = catalog
        self.interval = interval
        self.pending = 0
        self.on_commit: Callable[[list[Record]], None] = lambda _records: None
        self._open_store = open_store
        self._store: VectorStore | None = None
        self._added: list[tuple[int, Vectors]] = []
        self._removed: list[int] = []
        self._notes: deque[Record] = deque()
        self._thread = ThreadPoolExecutor(1, "lesson15-commit")
        # What failed half-way must not be gone on with: a later commit would promise lost bytes.
        self._failure: BaseException | None = None
        self.is_committing = False
        self._idle = asyncio.Event()
        self._idle.set()

    def check_segment(self) -> None:
        """Check the newest block, at the cost of reading it: a foreign segment has none there.

        Raises:
            CorruptCheckpointError: it is not the one that the catalogue names.
        """
        newest = self.catalog.newest()
        if newest is not None:
            with SegmentReader(self.log.folder.segment, self.log.cipher) as reader:
                reader.read(newest.block)

    async def settled(self) -> None:
        """Wait until no commit runs."""
        while self.is_committing:
            await self._idle.wait()

    def note(self, record: Record) -> None:
        """Put a rare event on record at any time: it is appended with the next outcome.

        So nothing is appended while a commit runs, and a run that settles nothing leaves no trace.
        """
        self._notes.append(record)

    def append(self, record: Record) -> None:
        """Append ``record`` after what was noted; call only while no commit runs."""
        while self._notes:
            self.log.append(self._notes.popleft())
        self.log.append(record)

    def add_done(
        self, document: SourceDocument, outcome: DocumentOutcome, seconds: float, attempts: int
    ) -> Record:
        """Append a success; call only while no commit runs."""
        record: Record = {
            "t": "doc",
            "id": document.doc_id,
            "s": "done",
            "n": len(outcome.chunks),
            "at": round(time.time(), 3),
            "sec": round(seconds, 6),
            "w": document.worker,
        }
        if attempts > 1:
            record["try"] = attempts
        if outcome.fingerprint is not None:
            record["fp"] = outcome.fingerprint
            record["sha"] = outcome.sha256
        if outcome.vectors is not None and outcome.chunks:
            try:
                row, ref = self.log.append_block(outcome.vectors, outcome.chunks)
            except CheckpointWriteError as error:
                self._failure = error
                raise
            record["row"] = row
            record["seg"] = [ref.offset, ref.length, ref.crc]
            self._added.append((row, outcome.vectors))
        return self._append(document, record)

    def add_unchanged(
        self, document: SourceDocument, outcome: DocumentOutcome, seconds: float, attempts: int
    ) -> Record:
        """Append that a touched file has the content that the batch has: only times differ."""
        row = self.catalog.lookup([document.doc_id])[document.doc_id]
        assert row.record is not None  # noqa: S101 - a known hash comes from a full record
        record = {
            **row.record,
            "at": round(time.time(), 3),
            "sec": round(seconds, 6),
            "w": document.worker,
            "try": attempts,
            "fp": outcome.fingerprint,
            "was": "done",
            "was_n": row.chunks,
        }
        self.append(record)
        self.pending += 1
        return record

    def add_failed(
        self,
        document: SourceDocument,
        status: DocStatus,
        error: Exception,
        seconds: float,
        fingerprint: list[int] | None,
    ) -> Record:
        """Append a failure, or a skip, to the dead-letter list."""
        record: Record = {
            "t": "doc",
            "id": document.doc_id,
            "s": status.value,
            "n": 0,
            "at": round(time.time(), 3),
            "sec": round(seconds, 6),
            "w": document.worker,
            "err": message_of(error),
            "et": type(error).__name__,
            "try": getattr(error, "attempts", 1),
        }
        if fingerprint is not None:
            record["fp"] = fingerprint
        return self._append(document, record)

    def add_gone(self, document: SourceDocument) -> Record:
        """Append that a document is no more; it leaves the index."""
        record: Record = {"t": "gone", "id": document.doc_id, "at": round(time.time(), 3)}
        return self._append(document, record)

    def _append(self, document: SourceDocument, record: Record) -> Record:
        if document.was is not None:
            record["was"] = document.was
            record["was_n"] = document.was_chunks
            if document.was_row is not None:
                self._removed.extend(
                    range(document.was_row, document.was_row + document.was_chunks)
                )
        self.append(record)
        self.pending += 1
        return record

    async def commit(self) -> None:
        """Make everything appended durable, then bring catalogue and index up to it.

        A caller that is cancelled leaves the commit running, and :meth:`settled` waits for it.

        Raises:
            CheckpointWriteError: the system refused, now or before; the last commit stays in force.
            CatalogError: the commit is done, but not applied to the catalogue.
        """
        await self.settled()
        if self._failure is not None:
            raise self._failure
        if not self.log.is_dirty:
            return
        self.is_committing = True
        self._idle.clear()
        commit = asyncio.get_running_loop().run_in_executor(self._thread, self._commit)
        commit.add_done_callback(self._end_commit)
        await asyncio.shield(commit)

    def _end_commit(self, commit: asyncio.Future[list[Record]]) -> None:
        self.is_committing = False
        self._idle.set()
        self._failure = commit.exception()
        if self._failure is None:
            self.pending = 0
            self.on_commit(commit.result())

    def _commit(self) -> list[Record]:
        before = self.log.committed
        records = self.log.commit()
        self.catalog.apply(records, self.log.committed.position)
        if self._added or self._removed:
            try:
                if self._store is None and not self._load_store(tag_of(before)):
                    self._rebuild()
                else:
                    self._update_store()
            except INDEX_ERRORS as error:
                raise CheckpointWriteError(path=self.log.folder.index, detail=error) from error
            self._added.clear()
            self._removed.clear()
        return records

    def _load_store(self, tag: str) -> bool:
        self._store = self._open_store()
        return self._store.load() == tag

    def _rebuild(self) -> None:
        assert self._store is not None  # noqa: S101 - loaded by the caller
        with SegmentReader(self.log.folder.segment, self.log.cipher) as reader:
            rebuild_index(self._store, self.catalog, reader)

    def _update_store(self) -> None:
        assert self._store is not None  # noqa: S101 - loaded by the caller
        self._store.remove(np.array(self._removed, np.int64))
        if self._added:
            rows = np.concatenate([np.arange(row, row + len(part)) for row, part in self._added])
            self._store.add(rows, np.concatenate([part for _, part in self._added]))

    async def save_index(self) -> None:
        """Persist the index as of the last commit, if what is on disk is not that already."""
        await self.in_thread(self._save_index)

    def _save_index(self) -> None:
        commit = self.log.committed
        tag = tag_of(commit)
        if not commit.next_row:
            return  # no vector was ever made
        try:
            if self._store is None:
                if self._load_store(tag):
                    return
                self._rebuild()
            assert self._store is not None  # noqa: S101 - loaded just above
            self._store.save(tag)
        except INDEX_ERRORS as error:
            raise CheckpointWriteError(path=self.log.folder.index, detail=error) from error

    async def in_thread(self, func: Callable[..., T], *args: object) -> T:
        """Run ``func`` in the ledger's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, func, *args)

    async def aclose(self) -> None:
        """Close everything; what was not committed is dropped."""

        def close() -> None:
            self.log.close()
            self.catalog.close()
            if self._store is not None:
                self._store.close()

        await self.in_thread(close)
        self._thread.shutdown()
