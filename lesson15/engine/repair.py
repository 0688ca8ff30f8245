"""Repairing a damaged batch: what can be mended is, what cannot is done again from the sources.

What is derived is made anew in any case. A document whose block is damaged is worked on again by
the ordinary engine. If the journal is damaged, or the segment is cut short, what can be read of
them is first written anew beside the old files, and the checkpoint, replaced last, switches to it:
killed at any moment the batch is the old or the new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesson15.checkpoint.filesystem import replace_file
from lesson15.checkpoint.layout import BatchFolder, batch_lock
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.salvage import Salvage, flipped_back
from lesson15.checkpoint.segment import SegmentReader
from lesson15.checkpoint.state_files import Commit, Manifest, decode_checkpoint, decode_manifest
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.engine.feed import Naming
from lesson15.engine.reading import open_derived
from lesson15.engine.transcript import Transcript, sweep
from lesson15.engine.verify import Verification, verify
from lesson15.errors import (
    CheckpointWriteError,
    CorruptCheckpointError,
    Lesson15Error,
    RepairError,
    StateReadError,
)
from lesson15.events import DocRemoved, DocSettled, Event
from lesson15.models import BatchState, BatchStatus, DocStatus, Failure

if TYPE_CHECKING:
    from lesson15.engine.processor import BatchProcessor


@dataclass(slots=True)
class Repair:
    """What a repair came to.

    Attributes:
        batch_id: the batch.
        mended: what was mended, in words.
        redone: the ids of documents whose blocks were damaged, and that are done again.
        failures: those of them that could not be, as their entries in the dead-letter list.
        lost_records: how many records of the journal could not be read.
        faults: what :func:`verify` finds wrong afterwards.
    """

    batch_id: str
    mended: list[str] = field(default_factory=list)
    redone: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    lost_records: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Every damaged document is done again, and nothing is wrong any more."""
        return not self.failures and not self.faults

    def to_dict(self) -> dict[str, Any]:
        """This report as JSON-ready values, with ``ok``."""
        return {**asdict(self), "ok": self.is_whole}


async def repair(processor: BatchProcessor, batch_id: str) -> Repair:
    """Repair ``batch_id`` with the engine of ``processor``.

    A batch that was not finished is not finished by this: ``resume`` does that.

    Raises:
        UsageError: the batch is unknown, locked, or being worked on by workers.
        RepairError: a file is damaged that nothing can be made anew from.
        StorageError: the system refused; the batch is as it was, or as far repaired as it was.
    """
    manager = processor.checkpoint_manager
    folder = manager.folder_at_rest(batch_id, "repair it")
    report = Repair(batch_id)
    with batch_lock(folder):
        damaged, is_to_resume = _Restoration(manager, folder, report).run()
    if damaged:
        done = await processor.redo(batch_id, damaged)
        wanted = set(damaged)
        found = [Failure(**asdict(each)) if isinstance(each, Failure) else Failure(**each)
                 for each in done["failures"]]  # fmt: skip
        report.failures = [failure for failure in found if failure.doc_id in wanted]
        gone = {failure.doc_id for failure in report.failures}
        report.redone = [doc_id for doc_id in damaged if doc_id not in gone]
    if is_to_resume:
        await processor.resume_batch(batch_id)
    batch = manager.open(batch_id)
    if batch.state.status is BatchStatus.FINISHED:
        derived = batch.use(open_derived)
        derived.catalog.close()
        derived.store.close()
    result: Verification = verify(batch_id, manager.checkpoint_dir, manager.keyring)
    report.faults += result.faults
    return report


class _Restoration:
    """Makes the files of a batch readable again; the caller holds its lock."""

    def __init__(self, manager: CheckpointManager, folder: BatchFolder, report: Repair) -> None:
        self._manager = manager
        self._root = folder
        self._report = report

    def run(self) -> tuple[list[str], bool]:
        """Restore the files.

        Returns:
            The ids of the documents to be done again, and whether others may be lost.
        """
        found = self._checkpoint()
        if found is None:
            return self._from_journal()
        state, commit = found
        batch = StoredBatch(self._root.at(commit.generation), state, commit, self._manager.keyring)
        manifest = self._manifest(batch.folder)
        live: dict[str, DocSettled] = {}
        is_sound = True
        try:
            for event in batch.events():
                if isinstance(event, DocSettled):
                    live[event.doc_id] = event
                elif isinstance(event, DocRemoved):
                    live.pop(event.doc_id, None)
        except CorruptCheckpointError as error:
            self._report.mended.append(f"{error.path}: {error.detail}")
            is_sound = False
        if is_sound and self._is_segment_long_enough(batch):
            documents = [event for event in live.values() if event.chunks]
            with batch.blocks() as blocks:
                damaged = [event.doc_id for event in documents if not _can_read(blocks, event)]
            if not damaged or len(damaged) < len(documents):
                return damaged, False
        was_finished = state.status is BatchStatus.FINISHED
        salvage = Salvage(batch.folder.journal, commit.position, batch.cipher)
        damaged = self._write_anew(batch, manifest, salvage)
        return damaged, was_finished and not is_sound and self._has_sources(manifest)

    def _from_journal(self) -> tuple[list[str], bool]:
        """Make the batch of what its journal says, as there is no checkpoint to be read."""
        generations = [0] + [
            int(path.name.rpartition("-")[2]) for path in self._root.root.glob("generation-*")
        ]
        folder = next(
            (at for number in sorted(generations)
             if (at := self._root.at(number)).manifest.exists() and at.journal.exists()),
            None,
        )  # fmt: skip
        path = self._root.checkpoint
        if folder is None:
            raise RepairError(path=path, detail="there is no journal to make it from")
        manifest = self._manifest(folder, is_clear=True)
        self._report.mended.append(f"{path}: made anew from the journal")
        commit = Commit(generation=folder.generation)
        state = BatchState(self._root.batch_id)
        batch = StoredBatch(folder, state, commit, self._manager.keyring)
        damaged = self._write_anew(batch, manifest, Salvage(folder.journal, None, None))
        return damaged, False

    def _checkpoint(self) -> tuple[BatchState, Commit] | None:
        path, batch_id = self._root.checkpoint, self._root.batch_id
        keyring = self._manager.keyring

        def read(data: bytes) -> tuple[BatchState, Commit]:
            found = decode_checkpoint(data, path, batch_id, keyring)
            if found[0].batch_id != batch_id:
                raise RepairError(path=path, detail=f"it belongs to {found[0].batch_id!r}")
            return found

        data = self._mended(path, read)
        return None if data is None else read(data)

    def _manifest(self, folder: BatchFolder, *, is_clear: bool = False) -> Manifest:
        path, batch_id = folder.manifest, folder.batch_id
        keyring = self._manager.keyring

        def read(data: bytes) -> Manifest:
            manifest = decode_manifest(data, path, batch_id, keyring)
            if manifest.batch_id != batch_id:
                raise RepairError(path=path, detail=f"it belongs to {manifest.batch_id!r}")
            return manifest

        data = self._mended(path, read)
        if data is None:
            raise RepairError(path=path, detail="nothing else says what the batch is made of")
        if is_clear and b'"sealed"' in data:
            raise RepairError(
                path=self._root.checkpoint,
                detail="it has the salt of the encryption, without which nothing can be read",
            )
        return read(data)

    def _mended(self, path: Path, read: Any) -> bytes | None:
        """The bytes at ``path``, with one bit flipped back if need be; None: beyond repair."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateReadError(path=path, detail=error) from error
        try:
            read(data)
        except CorruptCheckpointError:
            right = flipped_back(data, lambda changed: _is_readable(read, changed))
            if right is None:
                return None
            try:
                replace_file(self._manager.fs, path, right)
            except OSError as error:
                raise CheckpointWriteError(path=path, detail=error) from error
            self._report.mended.append(f"{path}: one bit was flipped")
            return right
        return data

    @staticmethod
    def _is_segment_long_enough(batch: StoredBatch) -> bool:
        try:
            size = batch.folder.segment.stat().st_size
        except FileNotFoundError:
            size = 0
        except OSError as error:
            raise StateReadError(path=batch.folder.segment, detail=error) from error
        return size >= batch.commit.segment_bytes

    def _has_sources(self, manifest: Manifest) -> bool:
        """Whether the sources can be looked over for what is lost; if not, say so."""
        naming = Naming(manifest.base_dir)
        paths = map(naming.path, manifest.sources or [])
        missing = [path for path in paths if not Path(path).exists()]
        if missing:
            self._report.faults.append(
                f"{', '.join(missing)}: not there to look for lost documents; put it back, then "
                f"run `lesson15 resume {manifest.batch_id}`"
            )
        return manifest.sources is not None and not missing

    def _write_anew(self, batch: StoredBatch, manifest: Manifest, salvage: Salvage) -> list[str]:
        """Write what can be read of ``batch`` as its next generation; the documents to do again."""
        manager, folder = self._manager, batch.folder
        numbers = [int(path.name.rpartition("-")[2]) for path in folder.root.glob("generation-*")]
        target = folder.at(max([folder.generation, *numbers]) + 1)
        transcript = Transcript(manager, manifest, target)
        damaged: dict[str, None] = {}
        with batch.blocks() as blocks:
            state = transcript.write(_relinked(salvage.events(), blocks, damaged), blocks)
        kept = {
            "number": max(batch.commit.number, transcript.commit.number),
            "next_row": max(batch.commit.next_row, transcript.commit.next_row),
        }
        transcript.commit = transcript.commit.model_copy(update=kept)
        manager.write(state, transcript.commit)
        self._report.lost_records = salvage.lost
        self._report.mended.append(f"{target.data}: what could be read was written anew")
        sweep(target)
        return list(damaged)


def _is_readable(read: Any, data: bytes) -> bool:
    try:
        read(data)
    except Lesson15Error:
        return False
    return True


def _can_read(blocks: SegmentReader, event: DocSettled) -> bool:
    if event.block is None:
        return False
    try:
        vectors, chunks = blocks.read(event.block)
    except CorruptCheckpointError:
        return False
    return len(vectors) == len(chunks) == event.chunks


def _relinked(
    events: Iterator[Event], blocks: SegmentReader, damaged: dict[str, None]
) -> Iterator[Event]:
    """``events`` as if those that are missing had never been.

    A document whose last block is damaged has failed, in place of being done; it is put into
    ``damaged``.
    """
    live: dict[str, DocSettled] = {}
    for event in events:
        if not isinstance(event, DocSettled | DocRemoved):
            yield event
            continue
        before = live.pop(event.doc_id, None)
        if isinstance(event, DocRemoved):
            damaged.pop(event.doc_id, None)
            if before is None:
                continue
        else:
            damaged.pop(event.doc_id, None)
            if event.chunks and not _can_read(blocks, event):
                damaged[event.doc_id] = None
                event = replace(
                    event,
                    status=DocStatus.FAILED,
                    chunks=0,
                    sha256=None,
                    first_row=None,
                    block=None,
                    error=f"{event.doc_id}: its vectors and texts were damaged on the disk.",
                    error_type=CorruptCheckpointError.__name__,
                )
            live[event.doc_id] = event
        yield replace(
            event,
            previous_status=before.status if before else None,
            previous_chunks=before.chunks if before else 0,
        )
