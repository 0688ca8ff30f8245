"""Where the files of a batch lie, and the lock that keeps a second process out."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from lesson15.arguments import state_path
from lesson15.errors import (
    BatchLockedError,
    CheckpointWriteError,
    InvalidBatchIdError,
    StateReadError,
)

_BATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LOCK_POLL_SECONDS = 0.05
_LOCK_PATIENCE_SECONDS = 1.0  # `status` holds the lock for an instant to see whether it is free


class BatchFolder:
    """The paths of one batch, after it was written anew ``generation`` times.

    Attributes:
        root: the folder of the batch.
        batch_id: its name.
        generation: which of the sets of files is meant; the checkpoint says which counts.
        checkpoint: the last commit; small readable JSON.
        lock: held by the process that works on the batch.
        owner: who holds the lock, for the message of whoever finds it held.
        shards: the parts that workers do; there only while a distributed batch is unfinished.
        data: where all files lie that are written anew together.
        manifest: what the batch is made of and with; written once.
        journal: append-only events.
        segment: append-only blocks of vectors and texts.
        catalog: derived: the SQLite table of documents.
        catalog_seal: the checksum of the catalogue, while no one writes to it.
        index: derived: the vector index, a file or a folder.
    """

    def __init__(self, root: Path, batch_id: str, generation: int = 0) -> None:
        self.root = root
        self.batch_id = batch_id
        self.generation = generation
        self.checkpoint = root / "checkpoint.json"
        self.lock = root / "lock"
        self.owner = root / "owner.json"
        self.shards = root / "shards"
        self.data = root / f"generation-{generation}" if generation else root
        self.manifest = self.data / "manifest.json"
        self.journal = self.data / "journal.log"
        self.segment = self.data / "segment.bin"
        self.catalog = self.data / "catalog.sqlite"
        self.catalog_seal = self.data / "catalog.sqlite.crc"
        self.index = self.data / "index"

    @classmethod
    def of(cls, state_dir: Path | str, batch_id: str) -> BatchFolder:
        """The folder of ``batch_id`` in ``state_dir``, which need not exist.

        Raises:
            InvalidBatchIdError: the id could not be a safe file name.
        """
        if not isinstance(batch_id, str) or not _BATCH_ID.fullmatch(batch_id):
            raise InvalidBatchIdError(batch_id=batch_id)
        return cls(state_path(state_dir) / batch_id, batch_id)

    def at(self, generation: int) -> BatchFolder:
        """The same batch after it was written anew ``generation`` times."""
        return BatchFolder(self.root, self.batch_id, generation)

    @property
    def has_batch(self) -> bool:
        """Whether there is a batch: a checkpoint, or a journal that has lost its checkpoint.

        A manifest alone is none: its creation was cut off. Nor is a later generation without
        checkpoint: a fork was cut off.

        Raises:
            StateReadError: the system does not let one see, which is no answer: a new batch would
                be put in the place of this one.
        """
        return _is_there(self.checkpoint) or _is_there(self.root / self.journal.name)

    def unfinished(self) -> list[int]:
        """The numbers of the generations above this one that are there, in order.

        They do not count: they are being made, or were when somebody was killed.
        """
        found = (path.name.rpartition("-")[2] for path in self.root.glob("generation-*"))
        numbers = (int(number) for number in found if number.isdecimal())
        return sorted(number for number in numbers if number > self.generation)

    def stale(self) -> list[Path]:
        """What other generations left behind."""
        if not self.generation:
            return list(self.root.glob("generation-*"))
        kept = {self.checkpoint, self.data, self.shards, self.lock, self.owner}
        return [path for path in self.root.iterdir() if path not in kept]


def new_batch_id() -> str:
    """A fresh id that sorts by time."""
    return f"batch-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


@contextmanager
def batch_lock(folder: BatchFolder) -> Iterator[None]:
    """Hold the batch for this process; the kernel drops the lock if the process dies.

    Raises:
        BatchLockedError: another process (or another processor in this one) holds it.
        CheckpointWriteError: the lock file cannot be made.
    """
    try:
        descriptor = _lock(folder.lock)
    except OSError as error:
        raise CheckpointWriteError(path=folder.lock, detail=error) from error
    if descriptor is None:
        raise BatchLockedError(batch_id=folder.batch_id, owner=_read_owner(folder))
    try:
        owner = {"pid": os.getpid(), "host": socket.gethostname()}
        with suppress(OSError):  # it serves a message alone: a full disk is no reason to stop
            folder.owner.write_text(json.dumps(owner), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            folder.owner.unlink()
        os.close(descriptor)  # which releases the lock


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock at ``path``, None if it stays held by another one.

    The folder must be there: a worker that made it again would undo the fence of its shard.
    """
    over = time.monotonic() + _LOCK_PATIENCE_SECONDS
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:  # else it was removed meanwhile, and guards nothing
                return descriptor
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(descriptor)
                raise
        os.close(descriptor)
        if time.monotonic() >= over:
            return None
        time.sleep(_LOCK_POLL_SECONDS)


def is_locked(folder: BatchFolder) -> bool:
    """Whether some process works on the batch right now; asking needs no right to write."""
    try:
        descriptor = os.open(folder.lock, os.O_RDONLY)
    except OSError:
        return False  # nobody ever locked it, or nobody here can
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(descriptor)  # which releases the lock
    return False


def _is_there(path: Path) -> bool:
    """Whether ``path`` exists; os.path.lexists takes every error for a no."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StateReadError(path=path, detail=error) from error
    return True


def _read_owner(folder: BatchFolder) -> str:
    try:
        owner = json.loads(folder.owner.read_text(encoding="utf-8"))
        return f"pid {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError):
        return "owner unknown"
