"""Merging shards into their batch, which is a normal one: its log, catalogue and index.

A shard is absorbed in one commit of the batch's log. Documents that the catalogue knows are
passed over, so absorbing a shard again, after a crash between the commit and the shard's removal,
adds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from lesson15.checkpoint.batch_log import BatchLog
from lesson15.checkpoint.documents import Commit
from lesson15.checkpoint.journal import Record, read_journal
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.segment import BlockRef, SegmentReader, Vectors
from lesson15.distributed.plan import settled_among
from lesson15.engine.ledger import INDEX_ERRORS, rebuild_index, tag_of
from lesson15.errors import CheckpointWriteError, CorruptCheckpointError
from lesson15.logs import get_logger
from lesson15.models import BatchReport, BatchStatus, Chunk
from lesson15.stores import VectorStore, open_store
from lesson15.stores.catalog import Catalog

log = get_logger(__name__)


class Merge:
    """The batch ``batch_id``, open for writing under its lock; used by one thread at a time."""

    def __init__(self, manager: CheckpointManager, batch_id: str) -> None:
        self.manifest = manager.load_manifest(batch_id)
        self._log = BatchLog(manager, batch_id, manager.fs)
        self.state = self._log.state
        self._store: VectorStore | None = None
        self.catalog = Catalog.recover(self._log.folder, self._log.committed, self._log.cipher)

    def absorb(self, shards: CheckpointManager, shard_id: str) -> list[str]:
        """Add what a closed shard has committed, commit it, and return what is left of the shard.

        What is damaged is left too, to be done again.

        Returns:
            The ids of documents without a verdict, the largest first.

        Raises:
            BatchNotFoundError: the shard was never completely made.
            CorruptCheckpointError: it is damaged so that its documents are not known.
            CheckpointWriteError: the system refused; the last commit stays in force.
        """
        documents = shards.load_manifest(shard_id).sources or []
        settled = settled_among(documents, self.catalog)
        added: list[tuple[int, Vectors]] = []
        try:
            for record, vectors, chunks in _committed(shards, shard_id):
                if record["id"] in settled:
                    continue
                if record["t"] == "doc":
                    settled.add(record["id"])
                if vectors is not None:
                    record["row"], ref = self._log.append_block(vectors, chunks)
                    record["seg"] = [ref.offset, ref.length, ref.crc]
                    added.append((record["row"], vectors))
                self._log.append(record)
        except CorruptCheckpointError as error:
            log.warning("shard damaged", shard=shard_id, error=str(error))
        self._commit(added)
        return [doc_id for doc_id in documents if doc_id not in settled]

    def give_up(self, doc_id: str, error: Exception, attempts: int) -> None:
        """Put a document on the dead-letter list."""
        self._log.append(
            {
                "t": "doc", "id": doc_id, "s": "failed", "n": 0, "at": round(time.time(), 3),
                "sec": 0.0, "w": 0, "err": str(error), "et": type(error).__name__, "try": attempts,
            }
        )  # fmt: skip
        self._commit()

    def finish(self, status: BatchStatus, seconds: float) -> None:
        """Put the end on record and, unless more is to come, save the index."""
        state = self.state
        if status is BatchStatus.FINISHED and state.settled_docs != state.total_docs:
            total = {"t": "total", "n": state.settled_docs, "at": time.time()}
            self._log.append(total)
        if self._log.has_run or state.status is not status:
            at = time.time()
            end = {"t": "end", "status": status.value, "seconds": round(seconds, 3), "at": at}
            self._log.append(end)
            self._commit()
        if status is BatchStatus.FINISHED:
            self._save_index()

    def report(self) -> BatchReport:
        """What the batch has come to."""
        return BatchReport.of(self.state, self.state.status, self.catalog.failures())

    def close(self) -> None:
        """Close the files; what was not committed is dropped."""
        self._log.close()
        self.catalog.close()
        if self._store is not None:
            self._store.close()

    def _commit(self, added: Sequence[tuple[int, Vectors]] = ()) -> None:
        """Commit what was appended, with the vectors ``added`` (first row, chunks x dimensions)."""
        if not self._log.is_dirty:
            return
        before = self._log.committed
        self.catalog.apply(self._log.commit(), self._log.committed.position)
        if added:
            with self._index_errors():
                store, is_current = self._current_store(before)
                if not is_current:
                    self._rebuild(store)
                    return
                rows = np.concatenate([np.arange(row, row + len(part)) for row, part in added])
                store.add(rows, np.concatenate([part for _, part in added]))

    def _current_store(self, commit: Commit) -> tuple[VectorStore, bool]:
        """The index, and whether it reflects ``commit``: once loaded it is kept up to date."""
        if self._store is not None:
            return self._store, True
        manifest = self.manifest
        self._store = open_store(
            manifest.store, self._log.folder.index, manifest.dimensions, self._log.cipher
        )
        is_new = not commit.next_row
        return self._store, is_new or self._store.load() == tag_of(commit)

    def _rebuild(self, store: VectorStore) -> None:
        with SegmentReader(self._log.folder.segment, self._log.cipher) as reader:
            rebuild_index(store, self.catalog, reader)

    def _save_index(self) -> None:
        commit = self._log.committed
        if not commit.next_row:
            return
        with self._index_errors():
            store, is_current = self._current_store(commit)
            if not is_current:
                self._rebuild(store)
            store.save(tag_of(commit))

    @contextmanager
    def _index_errors(self) -> Iterator[None]:
        try:
            yield
        except INDEX_ERRORS as error:
            raise CheckpointWriteError(path=self._log.folder.index, detail=error) from error


def _committed(
    shards: CheckpointManager, shard_id: str
) -> Iterator[tuple[Record, Vectors | None, list[Chunk]]]:
    """What a shard has committed about its documents, with vectors and chunks of those done."""
    commit = shards.load_commit(shard_id)
    cipher = shards.cipher(shard_id, commit)
    folder = shards.folder(shard_id)
    with SegmentReader(folder.segment, cipher) as reader:
        for _, record in read_journal(folder.journal, stop=commit.position, cipher=cipher):
            if record.get("id") is None:
                continue  # about the run: its worker, its limits, its commits
            vectors, chunks = (
                reader.read(BlockRef(*record["seg"])) if "seg" in record else (None, [])
            )
            yield record, vectors, chunks
