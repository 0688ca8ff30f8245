"""Writing a batch's log anew: a prefix of it into a fork, or all of it under another key.

Blocks are taken in the order in which the journal names them, which is that of the segment.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, datetime

from lesson15.checkpoint.documents import Manifest
from lesson15.checkpoint.journal import JournalWriter, Position, Record
from lesson15.checkpoint.layout import BatchFolder, batch_lock
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.reducer import fold
from lesson15.checkpoint.segment import BlockRef, SegmentReader, SegmentWriter
from lesson15.engine.ledger import rebuild_index, tag_of
from lesson15.errors import BatchExistsError, CheckpointWriteError
from lesson15.models import BatchState, BatchStatus
from lesson15.stores import check_encryptable, open_store
from lesson15.stores.catalog import Catalog

_FLUSH_RECORDS = 10_000


def fork(
    manager: CheckpointManager, batch_id: str, new_batch_id: str, records: Iterable[Record]
) -> BatchState:
    """Make ``new_batch_id`` of the first ``records`` of ``batch_id``; see Recording.fork.

    Its files are a generation of their own, so that what a killed fork leaves is no batch.
    """
    source, target = manager.folder(batch_id), manager.folder(new_batch_id).at(1)
    taken = BatchExistsError(batch_id=new_batch_id, state_dir=manager.checkpoint_dir)
    if target.has_batch:
        raise taken
    cipher = manager.cipher(batch_id, manager.load_commit(batch_id))
    manifest = manager.load_manifest(batch_id).model_copy(
        update={"batch_id": new_batch_id, "created_at": datetime.now(UTC)}
    )
    try:
        manager.fs.make_folder(target.root)
    except OSError as error:
        raise CheckpointWriteError(path=target.root, detail=error) from error
    with batch_lock(target), SegmentReader(source.segment, cipher) as blocks:
        if target.has_batch:  # made while this process waited for the lock
            raise taken
        transcript = Transcript(manager, manifest, target)
        state = transcript.write(records, blocks)
        if state.status is BatchStatus.FINISHED:
            transcript.build_index()
        manager.save_checkpoint(state, transcript.commit)
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
        self.commit = manager.new_commit().model_copy(update={"generation": target.generation})
        self._cipher = manager.cipher(manifest.batch_id, self.commit)
        if self._cipher is not None:
            check_encryptable(manifest.store)
        manager.save_manifest(manifest, target)

    def write(self, records: Iterable[Record], blocks: SegmentReader) -> BatchState:
        """Write ``records`` and the ``blocks`` that they name, durably; what they fold to.

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
                return self._copy(records, blocks, journal, segment)
            finally:
                journal.close()
                segment.close()
        except OSError as error:
            raise CheckpointWriteError(path=self._target.data, detail=error) from error

    def _copy(
        self,
        records: Iterable[Record],
        blocks: SegmentReader,
        journal: JournalWriter,
        segment: SegmentWriter,
    ) -> BatchState:
        state, number, next_row = BatchState(self._manifest.batch_id), 0, 0
        starts, new_starts = array("Q"), array("Q")
        for count, record in enumerate(records, 1):
            if "seg" in record:
                ref = BlockRef(*record["seg"])
                index = bisect_left(starts, ref.offset)
                if index == len(starts):  # else the record repeats the block of an earlier one
                    starts.append(ref.offset)
                    new_starts.append(segment.offset)
                    segment.append_block(blocks.read_block(ref), ref.crc)
                length = ref.length - blocks.overhead + segment.overhead
                record = {**record, "seg": [new_starts[index], length, ref.crc]}
                next_row = max(next_row, record["row"] + record["n"])
            elif record["t"] == "commit":
                number = record["n"]
            journal.append(record)
            fold(state, record)
            if count % _FLUSH_RECORDS == 0:
                journal.flush()
        segment.flush()
        journal.flush()
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

    def build_index(self) -> None:
        """Derive catalogue and index from the log; raises CheckpointWriteError."""
        if not self.commit.next_row:
            return  # no vector was ever made
        folder, manifest = self._target, self._manifest
        try:
            catalog = Catalog.recover(folder, self.commit, self._cipher)
            store = open_store(manifest.store, folder.index, manifest.dimensions, self._cipher)
            with SegmentReader(folder.segment, self._cipher) as reader:
                rebuild_index(store, catalog, reader)
            store.save(tag_of(self.commit))
            store.close()
            catalog.close()
        except OSError as error:
            raise CheckpointWriteError(path=folder.index, detail=error) from error
