"""The transaction at the heart of the engine: append outcomes, then commit them all at once.

Nothing appended counts until :meth:`BatchLog.commit` has (1) flushed and fsynced the segment,
(2) flushed and fsynced the journal, (3) replaced the checkpoint, which names how many bytes of
each count. A crash before (3) leaves the old checkpoint and a tail that :func:`BatchLog.open`
cuts off; a crash after (3) leaves the new one. The cost of a commit is that of the new bytes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lesson15.checkpoint.documents import Commit
from lesson15.checkpoint.filesystem import FileSystem, OsFileSystem
from lesson15.checkpoint.journal import JournalWriter, Record
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.reducer import fold
from lesson15.checkpoint.segment import BlockRef, SegmentWriter, Vectors
from lesson15.errors import CheckpointWriteError, CorruptCheckpointError
from lesson15.models import BatchState, Chunk


class BatchLog:
    """The journal, segment and checkpoint of one batch, open for writing under its lock."""

    def __init__(
        self, manager: CheckpointManager, batch_id: str, fs: FileSystem | None = None
    ) -> None:
        fs = fs or OsFileSystem()
        self._manager = manager
        self.folder = manager.folder(batch_id)
        self.state, self._committed = manager.load(batch_id)
        commit = self._committed
        self.cipher = manager.cipher(batch_id, commit)
        try:
            _cut(fs, self.folder.segment, commit.segment_bytes)
            _cut(fs, self.folder.journal, commit.journal_bytes)
            self._journal = JournalWriter(fs, self.folder.journal, commit.position, self.cipher)
            self._segment = SegmentWriter(
                fs, self.folder.segment, commit.segment_bytes, self.cipher
            )
        except OSError as error:
            raise CheckpointWriteError(path=self.folder.root, detail=error) from error
        self._next_row = commit.next_row
        self.records: list[Record] = []
        self.has_run = False

    @property
    def committed(self) -> Commit:
        """The last commit."""
        return self._committed

    @property
    def is_dirty(self) -> bool:
        """Whether anything was appended since the last commit."""
        return bool(self.records)

    def append(self, record: Record) -> None:
        """Add one record and fold it into :attr:`state`; durable after the next commit.

        The first one is preceded by a ``run`` record, so that a run that finds nothing to do
        leaves no trace.
        """
        if not self.has_run:
            self.has_run = True
            total = self.state.total_docs
            self.append({"t": "run", "at": time.time(), "pid": os.getpid(), "n": total})
        self._journal.append(record)
        self.records.append(record)
        fold(self.state, record)

    def append_block(self, vectors: Vectors, chunks: Sequence[Chunk]) -> tuple[int, BlockRef]:
        """Add a document's chunks and their vectors (chunks x dimensions).

        Returns:
            The row of the first vector (rows number all vectors of a batch) and the block's place.

        Raises:
            CheckpointWriteError: the disk refused.
        """
        row = self._next_row
        try:
            ref = self._segment.append(vectors, chunks)
        except OSError as error:
            raise CheckpointWriteError(path=self.folder.segment, detail=error) from error
        self._next_row += len(chunks)
        return row, ref

    def commit(self) -> list[Record]:
        """Make everything appended durable, and return its records; the last is a ``commit``.

        Raises:
            CheckpointWriteError: the system refused; the last commit stays in force, and this
                object must not be used again.
        """
        number = self._committed.number + 1
        self.append({"t": "commit", "n": number, "at": time.time()})
        try:
            self._segment.flush()
            self._journal.flush()
        except OSError as error:
            raise CheckpointWriteError(path=self.folder.root, detail=error) from error
        position = self._journal.position
        commit = Commit(
            number=number,
            journal_bytes=position.offset,
            journal_crc=position.crc,
            segment_bytes=self._segment.offset,
            next_row=self._next_row,
            generation=self._committed.generation,
            encryption=self._committed.encryption,
        )
        self._manager.save_checkpoint(self.state, commit)
        self._committed = commit
        records, self.records = self.records, []
        return records

    def snapshot(self) -> BatchState:
        """A copy of the state, uncommitted documents included."""
        return replace(self.state)

    def close(self) -> None:
        """Close the files; what was not committed is dropped."""
        self._journal.close()
        self._segment.close()


def _cut(fs: FileSystem, path: Path, size: int) -> None:
    """Cut ``path`` to its committed ``size``."""
    actual = path.stat().st_size if path.exists() else 0
    if actual < size:
        raise CorruptCheckpointError(
            path=path, detail=f"{actual} bytes, but {size} were committed: data was lost"
        )
    if actual > size:
        fs.truncate(path, size)
