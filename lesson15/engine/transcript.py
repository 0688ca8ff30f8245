"""Writing a batch's log anew: a prefix of it into a fork, or all of it under another key.

Blocks are taken in the order in which the journal names them, which is that of the segment.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, datetime

from lesson15.checkpoint.documents import Commit, Manifest
from lesson15.checkpoint.filesystem import FileSystem
from lesson15.checkpoint.journal import JournalWriter, Position, Record
from lesson15.checkpoint.layout import BatchFolder, batch_lock
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.reducer import fold
from lesson15.checkpoint.segment import BlockRef, SegmentReader, SegmentWriter
from lesson15.engine.ledger import rebuild_index, tag_of
from lesson15.errors import BatchExistsError, CheckpointWriteError
from lesson15.models import BatchState, BatchStatus
from lesson15.stores import open_store
from lesson15.stores.catalog import Catalog

_FLUSH_RECORDS = 10_000


def fork(
    manager: CheckpointManager, batch_id: str, new_batch_id: str, records: Iterable[Record]
) -> BatchState:
    """Make ``new_batch_id`` of the first ``records`` of ``batch_id``; see Recording.fork."""
    target = manager.folder(new_batch_id)
    taken = BatchExistsError(batch_id=new_batch_id, state_dir=manager.checkpoint_dir)
    if target.checkpoint.exists():
        raise taken
    manifest = manager.load_manifest(batch_id).model_copy(
        update={"batch_id": new_batch_id, "created_at": datetime.now(UTC)}
    )
    try:
        manager.fs.make_folder(target.root)
    except OSError as error:
        raise CheckpointWriteError(path=target.root, detail=error) from error
    with batch_lock(target), SegmentReader(manager.folder(batch_id).segment) as blocks:
        if target.checkpoint.exists():  # made while this process waited for the lock
            raise taken
        manager.save_manifest(manifest)
        state, commit = transcribe(manager.fs, records, blocks, target)
        if state.status is BatchStatus.FINISHED:
            build_index(target, manifest, commit)
        manager.save_checkpoint(state, commit)
    return state


def transcribe(
    fs: FileSystem, records: Iterable[Record], blocks: SegmentReader, target: BatchFolder
) -> tuple[BatchState, Commit]:
    """Write ``records`` and the blocks that they name as the log of ``target``, durably.

    Returns:
        The state that they fold to, and the commit that covers them; it is not saved.

    Raises:
        CorruptCheckpointError: a block is damaged.
        CheckpointWriteError: the system refused.
    """
    state, number, next_row = BatchState(target.batch_id), 0, 0
    starts, new_starts = array("Q"), array("Q")
    try:
        for path in (target.journal, target.segment):
            if path.exists():  # left by a crash
                fs.truncate(path, 0)
        journal = JournalWriter(fs, target.journal, Position())
        segment = SegmentWriter(fs, target.segment, 0)
        try:
            for count, record in enumerate(records, 1):
                if "seg" in record:
                    ref = BlockRef(*record["seg"])
                    index = bisect_left(starts, ref.offset)
                    if index == len(starts):
                        starts.append(ref.offset)
                        new_starts.append(
                            segment.append_block(blocks.read_block(ref), ref.crc).offset
                        )
                    record = {**record, "seg": [new_starts[index], ref.length, ref.crc]}
                    next_row = max(next_row, record["row"] + record["n"])
                elif record["t"] == "commit":
                    number = record["n"]
                journal.append(record)
                fold(state, record)
                if count % _FLUSH_RECORDS == 0:
                    journal.flush()
            segment.flush()
            journal.flush()
        finally:
            journal.close()
            segment.close()
    except OSError as error:
        raise CheckpointWriteError(path=target.root, detail=error) from error
    position = journal.position
    return state, Commit(
        number=number,
        journal_bytes=position.offset,
        journal_crc=position.crc,
        segment_bytes=segment.offset,
        next_row=next_row,
    )


def build_index(folder: BatchFolder, manifest: Manifest, commit: Commit) -> None:
    """Derive catalogue and index of ``folder`` from its log, as of ``commit``."""
    catalog = Catalog.recover(folder, commit)
    store = open_store(manifest.store, folder.index, manifest.dimensions)
    try:
        if commit.next_row:
            with SegmentReader(folder.segment) as reader:
                rebuild_index(store, catalog, reader)
            store.save(tag_of(commit))
    except OSError as error:
        raise CheckpointWriteError(path=folder.index, detail=error) from error
    finally:
        store.close()
        catalog.close()
