"""The transaction at the heart of the engine: append outcomes, then commit them all at once.

Nothing appended counts until a commit has (1) written and flushed the segment, (2) written and
flushed the journal, (3) replaced the checkpoint, which names how many bytes of each count. A crash
before (3) leaves the old checkpoint, and a tail that the next :class:`BatchFiles` cuts off; a crash
after (3) leaves the new one. The cost of a commit is that of the new bytes.

A commit has two halves, so that work goes on while it is being flushed: :meth:`BatchFiles.cut`
takes what was appended, in memory, and :meth:`BatchFiles.write` makes it durable, in any thread.
Cuts must be written in their order, one at a time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lesson15.checkpoint.filesystem import FileSystem
from lesson15.checkpoint.journal import JournalWriter
from lesson15.checkpoint.reducer import fold
from lesson15.checkpoint.segment import SegmentWriter, Vectors
from lesson15.checkpoint.state_files import Commit, save_checkpoint
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.errors import CheckpointWriteError, CorruptCheckpointError
from lesson15.events import BlockRef, Committed, Event, RunStarted, now
from lesson15.models import BatchState, Chunk


@dataclass(frozen=True, slots=True)
class Cut:
    """What one commit covers beyond the one before; ``events`` end with a :class:`Committed`."""

    commit: Commit
    state: BatchState
    events: list[Event]
    journal: list[bytes]
    blocks: list[bytes]


class BatchFiles:
    """Journal, segment and checkpoint of ``batch``, open for writing under its lock.

    Opening them cuts off what lies beyond the last commit.

    Attributes:
        state: the counts, of what is not yet committed too.
        committed: the last commit.
        uncut: the events that were appended since the last cut.
        has_run: whether anything was appended.

    Raises:
        CorruptCheckpointError: a file is shorter than was committed.
        CheckpointWriteError: the system refused.
    """

    def __init__(self, batch: StoredBatch, fs: FileSystem) -> None:
        self._fs = fs
        self.folder, self.cipher = batch.folder, batch.cipher
        self.state = replace(batch.state)
        self.committed = batch.commit
        commit = batch.commit
        try:
            # Whoever made this commit may have died before its name was durable. Nothing must be
            # built on it, nor anybody told of it, while a power cut can still undo it.
            fs.fsync_folder(self.folder.root)
            cut_off(fs, self.folder.segment, commit.segment_bytes)
            cut_off(fs, self.folder.journal, commit.journal_bytes)
            self._journal = JournalWriter(fs, self.folder.journal, commit.position, self.cipher)
            self._segment = SegmentWriter(
                fs, self.folder.segment, commit.segment_bytes, self.cipher
            )
        except OSError as error:
            raise CheckpointWriteError(path=self.folder.root, detail=error) from error
        self._next_row = commit.next_row
        self._number = commit.number
        self.uncut: list[Event] = []
        self.has_run = False

    def append(self, *events: Event) -> None:
        """Add events and fold them into :attr:`state`; durable after the next commit.

        The first one is preceded by a :class:`RunStarted`, so that a run that finds nothing to do
        leaves no trace.
        """
        if not self.has_run:
            self.has_run = True
            events = (RunStarted(now(), os.getpid(), self.state.total_docs), *events)
        for event in events:
            self._journal.append(event)
            self.uncut.append(event)
            fold(self.state, event)

    def append_block(self, vectors: Vectors, chunks: Sequence[Chunk]) -> tuple[int, BlockRef]:
        """Add a document's chunks and their vectors (chunks x dimensions).

        Returns:
            The row of the first vector (rows number all vectors of a batch) and the block's place.
        """
        row = self._next_row
        ref = self._segment.append(vectors, chunks)
        self._next_row += len(chunks)
        return row, ref

    def cut(self) -> Cut:
        """Close the present commit: what is appended from now on belongs to the next one."""
        self._number += 1
        self.append(Committed(self._number, now()))
        position = self._journal.position
        commit = Commit(
            number=self._number,
            journal_bytes=position.offset,
            journal_crc=position.crc,
            segment_bytes=self._segment.offset,
            next_row=self._next_row,
            generation=self.committed.generation,
            encryption=self.committed.encryption,
        )
        events, self.uncut = self.uncut, []
        return Cut(commit, replace(self.state), events, self._journal.take(), self._segment.take())

    def write(self, cut: Cut) -> None:
        """Make ``cut`` durable.

        Raises:
            CheckpointWriteError: the system refused; the last commit stays in force, and this
                object must not be used again.
        """
        try:
            self._segment.write(cut.blocks)
            self._journal.write(cut.journal)
        except OSError as error:
            raise CheckpointWriteError(path=self.folder.root, detail=error) from error
        save_checkpoint(self._fs, self.folder, cut.state, cut.commit, self.cipher)
        self.state.last_checkpoint = cut.state.last_checkpoint
        self.committed = cut.commit

    def close(self) -> None:
        """Close the files; what was not written is dropped."""
        self._journal.close()
        self._segment.close()


def cut_off(fs: FileSystem, path: Path, size: int) -> None:
    """Cut ``path`` to its committed ``size``."""
    try:
        actual = path.stat().st_size
    except FileNotFoundError:
        actual = 0
    if actual < size:
        raise CorruptCheckpointError(
            path=path, detail=f"{actual} bytes, but {size} were committed: data was lost"
        )
    if actual > size:
        fs.truncate(path, size)
