"""A batch as it stands on disk: one reading of its checkpoint, which everything else follows.

Readers take no lock. A batch may be committed to, or written anew under another key, while it is
read: commits only append, and when the files of a checkpoint have been replaced by those of a later
one, :meth:`StoredBatch.use` begins anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lesson15.checkpoint.encryption import Cipher, Keyring
from lesson15.checkpoint.journal import Position, check_end, read_journal
from lesson15.checkpoint.layout import BatchFolder, is_locked
from lesson15.checkpoint.state_files import (
    Commit,
    Manifest,
    decode_checkpoint,
    decode_manifest,
    generation_of,
)
from lesson15.errors import (
    BatchNotFoundError,
    CorruptCheckpointError,
    StateReadError,
    StorageError,
)
from lesson15.events import Event
from lesson15.models import BatchState, BatchStatus

if TYPE_CHECKING:
    from lesson15.checkpoint.segment import SegmentReader

T = TypeVar("T")
FileId = tuple[int, int, int]
"""Tells a file from one that has replaced it: inode, time of change in ns, size in bytes."""


@dataclass(frozen=True)
class StoredBatch:
    """A batch as one reading of its checkpoint has it, and the files that it names.

    Attributes:
        folder: where its files lie.
        state: its counts at the last commit.
        commit: how much of each file counts.
        keyring: the keys at hand.
        file_id: tells whether the checkpoint has been replaced since.
        is_live: whether a process worked on it just before the checkpoint was read.
        made_of: its manifest, if that is at hand, so that it need not be read.
    """

    folder: BatchFolder
    state: BatchState
    commit: Commit
    keyring: Keyring
    file_id: FileId | None = None
    is_live: bool = False
    made_of: Manifest | None = None

    @property
    def batch_id(self) -> str:
        """Its name."""
        return self.folder.batch_id

    @cached_property
    def cipher(self) -> Cipher | None:
        """What opens its files, None if they are in clear; raises BatchKeyError."""
        return self.keyring.cipher(self.batch_id, self.commit.encryption)

    def latest(self) -> StoredBatch:
        """This batch if its checkpoint is still the same, else a new reading of it.

        Under the lock of the batch the answer stays true; raises as :func:`open_batch` does.
        """
        try:
            is_same = _file_id(self.folder.checkpoint.stat()) == self.file_id
        except OSError:
            is_same = False
        if is_same:
            return self
        return open_folder(self.folder.at(0), self.keyring)

    def use(self, func: Callable[[StoredBatch], T]) -> T:
        """``func(batch)``, called again with a new reading if the batch was written anew meanwhile.

        Raises:
            Exception: whatever ``func`` raises, if the files of this reading are still in force.
        """
        batch = self
        while True:
            try:
                return func(batch)
            except StorageError:
                latest = batch.latest()
                if latest.folder.generation == batch.folder.generation:
                    raise
                batch = latest

    @cached_property
    def manifest(self) -> Manifest:
        """What the batch is made of and with; raises as :func:`open_batch` does."""
        return self.made_of or self.use(StoredBatch.read_manifest)

    def read_manifest(self) -> Manifest:
        """The manifest of this reading's generation, read anew; raises as :func:`open_batch` does,
        also if the files have been replaced by those of a later generation.
        """
        path = self.folder.manifest
        manifest = decode_manifest(_read(path)[0], path, self.batch_id, self.keyring)
        _check_owner(path, manifest.batch_id, self.batch_id)
        return manifest

    def events(self) -> Iterator[Event]:
        """The committed events, from the first; raises CorruptCheckpointError on a damaged one."""
        return self.use(StoredBatch._begun_events)

    def _begun_events(self) -> Iterator[Event]:
        """The events from an open file, which stays readable when it loses its name."""
        events = (event for _, event in self.events_from(Position()))
        return chain(list(islice(events, 1)), events)

    def events_from(self, start: Position) -> Iterator[tuple[Position, Event]]:
        """The committed events after ``start``, each with the position behind it."""
        return read_journal(self.folder.journal, start, self.commit.position, self.cipher)

    def blocks(self) -> SegmentReader:
        """The segment; a context manager that closes it."""
        from lesson15.checkpoint.segment import SegmentReader  # numpy, for this alone

        return SegmentReader(self.folder.segment, self.cipher)

    def status(self) -> dict[str, Any]:
        """What is shown of the batch, the same by every interface, as JSON-ready values.

        ``status`` is "interrupted" where a batch was killed; ``total_docs`` is 0 while documents
        are still being counted; ``eta`` is in seconds, None while nothing can be estimated; the
        rest is as in :class:`lesson15.models.BatchState`.
        """
        state = self.state
        is_killed = state.status is BatchStatus.RUNNING and not self.is_live
        left = state.total_docs - state.settled_docs
        is_counted = state.total_docs or state.status is BatchStatus.FINISHED
        eta = None
        if not is_counted:
            pass
        elif left <= 0:
            eta = 0.0
        elif self.is_live and state.settled_docs and state.last_checkpoint:
            eta = left * (state.last_checkpoint - state.start_time) / state.settled_docs
        return {
            "batch_id": self.batch_id,
            "status": "interrupted" if is_killed else state.status.value,
            "total_docs": state.total_docs,
            "processed_docs": state.processed_docs,
            "failed_docs": state.failed_docs,
            "skipped_docs": state.skipped_docs,
            "progress_percent": round(state.current_progress, 2),
            "eta": eta,
            "chunks": state.chunks,
            "start_time": state.start_time,
            "last_checkpoint": state.last_checkpoint,
        }


def open_batch(state_dir: Path | str, batch_id: str, keyring: Keyring) -> StoredBatch:
    """The batch ``batch_id`` in ``state_dir``, from one reading of its checkpoint.

    Raises:
        InvalidBatchIdError: ``batch_id`` could not be a batch's.
        BatchNotFoundError: there is no such batch.
        BatchKeyError: it is encrypted with another key than those of ``keyring``.
        CorruptCheckpointError: the checkpoint is damaged, or that of another batch, or the journal
            does not go as far.
        StateReadError: a file cannot be read.
        SchemaTooNewError: a later lesson15 wrote it.
    """
    return open_folder(BatchFolder.of(state_dir, batch_id), keyring)


def open_folder(root: BatchFolder, keyring: Keyring) -> StoredBatch:
    """The batch in ``root``, wherever that lies; raises as :func:`open_batch` does."""
    batch_id, path = root.batch_id, root.checkpoint
    while True:
        # Before the checkpoint is read: a batch that ends in between is not taken for a killed one.
        is_live = is_locked(root)
        data, file_id = _read_checkpoint(root)
        folder = root.at(generation_of(data))
        try:
            state, commit = decode_checkpoint(data, path, batch_id, keyring)
            _check_owner(path, state.batch_id, batch_id)
            check_end(folder.journal, commit.position)
        except StorageError:  # perhaps as its files were replaced by those of a later generation
            if generation_of(_read_checkpoint(root)[0]) == folder.generation:
                raise
        else:
            return StoredBatch(folder, state, commit, keyring, file_id, is_live)


def _read(path: Path) -> tuple[bytes, FileId]:
    """The bytes of a file that a batch cannot be without.

    Raises:
        CorruptCheckpointError: it is missing.
        StateReadError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(), _file_id(os.fstat(file.fileno()))
    except FileNotFoundError as error:
        raise CorruptCheckpointError(path=path, detail="the file is missing") from error
    except OSError as error:
        raise StateReadError(path=path, detail=error) from error


def _file_id(status: os.stat_result) -> FileId:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read_checkpoint(root: BatchFolder) -> tuple[bytes, FileId]:
    try:
        return _read(root.checkpoint)
    except CorruptCheckpointError:
        if root.has_batch:
            raise
        raise BatchNotFoundError(
            batch_id=root.batch_id, state_dir=os.fspath(root.root.parent)
        ) from None


def _check_owner(path: Path, found: str, batch_id: str) -> None:
    if found != batch_id:
        raise CorruptCheckpointError(path=path, detail=f"it belongs to the batch {found!r}")
