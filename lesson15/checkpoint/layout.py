"""Where the files of a batch lie, and the lock that keeps a second process out."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from lesson15.errors import BatchLockedError, CheckpointWriteError, InvalidBatchIdError

_BATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LOCK_PATIENCE_SECONDS = 1.0  # `status` holds the lock for an instant to see whether it is free


@dataclass(frozen=True, slots=True)
class BatchFolder:
    """The paths of one batch."""

    root: Path
    batch_id: str
    generation: int = 0

    @classmethod
    def of(cls, state_dir: Path | str, batch_id: str) -> BatchFolder:
        """The folder of ``batch_id`` in ``state_dir``, which need not exist.

        Raises:
            InvalidBatchIdError: the id could not be a safe file name.
        """
        if not _BATCH_ID.fullmatch(batch_id):
            raise InvalidBatchIdError(batch_id=batch_id)
        return cls(Path(state_dir) / batch_id, batch_id)

    @property
    def has_batch(self) -> bool:
        """Whether there is a batch: a checkpoint, or a journal that has lost its checkpoint.

        A manifest alone is none: its creation was cut off. Nor is a later generation without
        checkpoint: a fork was cut off.
        """
        return os.path.lexists(self.checkpoint) or os.path.lexists(self.at(0).journal)

    @property
    def checkpoint(self) -> Path:
        """The last commit; small readable JSON."""
        return self.root / "checkpoint.json"

    def at(self, generation: int) -> BatchFolder:
        """The same batch after it was written anew ``generation`` times."""
        return replace(self, generation=generation)

    @property
    def data(self) -> Path:
        """Where all files lie that are written anew together; the checkpoint says which count."""
        return self.root / f"generation-{self.generation}" if self.generation else self.root

    def stale(self) -> list[Path]:
        """What other generations left behind."""
        if not self.generation:
            return list(self.root.glob("generation-*"))
        kept = {self.checkpoint, self.data, self.shards, self.lock, self.owner}
        return [path for path in self.root.iterdir() if path not in kept]

    @property
    def manifest(self) -> Path:
        """What the batch is made of and with; written once."""
        return self.data / "manifest.json"

    @property
    def journal(self) -> Path:
        """Append-only records of what happened."""
        return self.data / "journal.log"

    @property
    def segment(self) -> Path:
        """Append-only blocks of vectors and texts."""
        return self.data / "segment.bin"

    @property
    def catalog(self) -> Path:
        """Derived: the SQLite table of documents."""
        return self.data / "catalog.sqlite"

    @property
    def catalog_seal(self) -> Path:
        """The checksum of the catalogue, while no one writes to it."""
        return self.data / "catalog.sqlite.crc"

    @property
    def index(self) -> Path:
        """Derived: the vector index, a file or a folder."""
        return self.data / "index"

    @property
    def shards(self) -> Path:
        """The parts that workers do; there only while a distributed batch is unfinished."""
        return self.root / "shards"

    @property
    def lock(self) -> Path:
        """Held by the process that works on the batch."""
        return self.root / "lock"

    @property
    def owner(self) -> Path:
        """Who holds the lock, for the message of whoever finds it held."""
        return self.root / "owner.json"


@contextmanager
def batch_lock(folder: BatchFolder) -> Iterator[None]:
    """Hold the batch for this process; the kernel drops the lock if the process dies.

    Raises:
        BatchLockedError: another process (or another processor in this one) holds it.
        CheckpointWriteError: the lock file cannot be made.
    """
    lock = FileLock(folder.lock, timeout=_LOCK_PATIENCE_SECONDS, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise BatchLockedError(batch_id=folder.batch_id, owner=_read_owner(folder)) from None
    except OSError as error:
        raise CheckpointWriteError(path=folder.lock, detail=error) from error
    try:
        owner = {"pid": os.getpid(), "host": socket.gethostname()}
        with suppress(OSError):  # it serves a message alone: a full disk is no reason to stop
            folder.owner.write_text(json.dumps(owner), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            folder.owner.unlink()
        lock.release()


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


def _read_owner(folder: BatchFolder) -> str:
    try:
        owner = json.loads(folder.owner.read_text(encoding="utf-8"))
        return f"pid {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError):
        return "owner unknown"
