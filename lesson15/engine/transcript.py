"""Writing a batch's log anew: a prefix of it into a fork, or all of it under another key.

Blocks are taken in the order in which the journal names them, which is that of the segment.
"""

from __future__ import annotations

import shutil
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lesson15.checkpoint.journal import JournalWriter, Position
from lesson15.checkpoint.layout import BatchFolder, batch_lock
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.reducer import fold
from lesson15.checkpoint.segment import SegmentReader, SegmentWriter
from lesson15.checkpoint.state_files import Commit, Manifest, make_folder, save_manifest
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.engine.index import save_index
from lesson15.errors import BatchExistsError, CheckpointWriteError
from lesson15.events import BlockRef, Committed, DocSettled, Event
from lesson15.models import BatchState, BatchStatus
from lesson15.stores import check_encryptable, open_store
from lesson15.stores.catalog import Catalog

_FLUSH_EVENTS = 10_000
_FLUSH_BYTES = 64 * 1024 * 1024
_REMOVED = ".removed"


def fork(
    manager: CheckpointManager, batch: StoredBatch, new_batch_id: str, events: Iterable[Event]
) -> BatchState:
    """Make ``new_batch_id`` of the first ``events`` of ``batch``; see Recording.fork.

    Its files are a generation of their own, so that what a killed fork leaves is no batch.
    """
    target = manager.folder(new_batch_id).at(1)
    taken = BatchExistsError(batch_id=new_batch_id, state_dir=manager.checkpoint_dir)
    if target.has_batch:
        raise taken
    manifest = batch.manifest.model_copy(
        update={"batch_id": new_batch_id, "created_at": datetime.now(UTC)}
    )
    make_folder(manager.fs, target.root)
    with batch_lock(target), batch.blocks() as blocks:
        if target.has_batch:  # made while this process waited for the lock
            raise taken
        transcript = Transcript(manager, manifest, target)
        state = transcript.write(events, blocks)
        if state.status is BatchStatus.FINISHED:
            transcript.build_index(state)
        manager.write(state, transcript.commit)
    return state


class Transcript:
    """A log of ``manifest``'s batch, written anew in ``target`` under the current key.

    It counts once :attr:`commit` is saved.

    Raises:
        UsageError: the batch's store cannot be encrypted.
        CheckpointWriteError: the system refused.
    """

    def __init__(self, manager: CheckpointManager, manifest: Manifest, target: BatchFolder) -> None:
        self._fs = manager.fs
        self._manifest = manifest
        self._target = target
        self._manager = manager
        self.commit = Commit(encryption=manager.keyring.start(), generation=target.generation)
        self._cipher = manager.keyring.cipher(manifest.batch_id, self.commit.encryption)
        if self._cipher is not None:
            check_encryptable(manifest.store)
        save_manifest(manager.fs, target, manifest, manager.keyring)

    def write(self, events: Iterable[Event], blocks: SegmentReader) -> BatchState:
        """Write ``events`` and the ``blocks`` that they name, durably; what they fold to.

        Raises:
            CorruptCheckpointError: a block is damaged.
            CheckpointWriteError: the system refused.
        """
        try:
            for path in (self._target.journal, self._target.segment):
                if path.exists():  # left by a crash
                    self._fs.truncate(path, 0)
            journal = JournalWriter(self._fs, self._target.journal, Position(), self._cipher)
            segment = SegmentWriter(self._fs, self._target.segment, 0, self._cipher)
            try:
                return self._copy(events, blocks, journal, segment)
            finally:
                journal.close()
                segment.close()
        except OSError as error:
            raise CheckpointWriteError(path=self._target.data, detail=error) from error

    def _copy(
        self,
        events: Iterable[Event],
        blocks: SegmentReader,
        journal: JournalWriter,
        segment: SegmentWriter,
    ) -> BatchState:
        state, number, next_row = BatchState(self._manifest.batch_id), 0, 0
        starts, new_starts = array("Q"), array("Q")
        for count, event in enumerate(events, 1):
            if isinstance(event, DocSettled) and event.block is not None:
                ref = event.block
                index = bisect_left(starts, ref.offset)
                if index == len(starts):  # else the event repeats the block of an earlier one
                    starts.append(ref.offset)
                    new_starts.append(segment.offset)
                    segment.append_block(blocks.read_block(ref), ref.crc)
                length = ref.length - blocks.overhead + segment.overhead
                event = replace(event, block=BlockRef(new_starts[index], length, ref.crc))
                next_row = max(next_row, event.rows.stop)
            elif isinstance(event, Committed):
                number = event.number
            journal.append(event)
            fold(state, event)
            if count % _FLUSH_EVENTS == 0 or segment.waiting_bytes > _FLUSH_BYTES:
                segment.write(segment.take())
                journal.write(journal.take())
        segment.write(segment.take())
        journal.write(journal.take())
        self.commit = self.commit.model_copy(
            update={
                "number": number,
                "journal_bytes": journal.position.offset,
                "journal_crc": journal.position.crc,
                "segment_bytes": segment.offset,
                "next_row": next_row,
            }
        )
        return state

    def build_index(self, state: BatchState) -> None:
        """Derive catalogue and index from the log; raises IndexBehindError."""
        if not self.commit.next_row:
            return  # no vector was ever made
        batch = StoredBatch(self._target, state, self.commit, self._manager.keyring)
        manifest = batch.manifest
        with closing(Catalog.recover(batch)) as catalog:
            store = open_store(
                manifest.store, batch.folder.index, manifest.dimensions, batch.cipher
            )
            save_index(store, batch, catalog)


def sweep(folder: BatchFolder) -> None:
    """Remove what other generations left; it is not wiped, which no file system promises.

    Raises:
        CheckpointWriteError: the system refused.
    """
    try:
        for path in folder.stale():
            if path.is_dir():
                remove_folder(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointWriteError(path=folder.root, detail=error) from error


def remove_folder(path: Path) -> None:
    """Remove a folder that others may be reading just now.

    SQLite makes files of its own beside a table that is read, and removes them, so that no folder
    stays empty for sure. It gets another name first, in which no reader looks.

    Raises:
        OSError: the system refused.
    """
    removed = path.with_name(path.name.removesuffix(_REMOVED) + _REMOVED)
    if removed.exists():  # whoever began to remove it was killed
        shutil.rmtree(removed)
    if removed != path:
        shutil.rmtree(path.rename(removed))
