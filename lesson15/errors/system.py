"""The system is at fault: the batch aborts, its checkpoint stays, and the command line exits 3."""

# ruff: noqa: D101 - __init_subclass__ makes the docstring of a class from its message

from __future__ import annotations

from typing import TYPE_CHECKING

from lesson15.errors.base import Lesson15Error


class StorageError(Lesson15Error):
    """The system is at fault."""

    message = "{path}: {detail}"

    if TYPE_CHECKING:  # the fields of its own message, which those below do not have

        def __init__(self, *, path: object, detail: object) -> None: ...


class CheckpointWriteError(StorageError):
    path: object
    detail: object
    message = """
    The checkpoint at {path} could not be written ({detail}). What was committed before is safe:
    free the disk or fix the permissions, then run `lesson15 resume`.
    """


class IndexBehindError(CheckpointWriteError):
    path: object
    detail: object
    message = """
    Every document is committed, but the index at {path} could not be saved and is behind
    ({detail}). Free the disk or fix the permissions, then run `lesson15 resume`, which brings it
    up; until then each search does that in memory.
    """


class StateReadError(StorageError):
    path: object
    detail: object
    message = """
    The state at {path} cannot be read ({detail}). Fix its permissions or its disk, or restore the
    folder from a backup, and try again.
    """


class CatalogError(StorageError):
    path: object
    detail: object
    message = """
    The catalogue at {path} failed ({detail}). It is derived from the journal: free the disk, fix
    the permissions or delete the file, then run `lesson15 resume`.
    """


class CorruptCheckpointError(StorageError):
    path: object
    detail: object
    message = """
    The state at {path} is damaged ({detail}). `lesson15 verify` tells how far; `lesson15 repair`
    mends what it can, and does again from the sources what is lost.
    """


class RepairError(StorageError):
    path: object
    detail: object
    message = """
    The state at {path} cannot be repaired ({detail}). Restore the folder from a backup, or start a
    new batch.
    """


class StoreError(StorageError):
    name: str
    path: object
    detail: object
    message = """
    The vector store {name!r} failed at {path} ({detail}). What was committed is safe: mend the
    store, then run `lesson15 resume`, which brings its index up.
    """


class SchemaTooNewError(StorageError):
    path: object
    found: object
    supported: int
    message = """
    The checkpoint at {path} has schema version {found}, and this lesson15 reads up to {supported}.
    Upgrade lesson15.
    """


class SourcesLostError(StorageError):
    batch_id: str
    problems: str
    message = """
    Documents of batch {batch_id!r} went out of sight while it ran: {problems}. What was done before
    is safe, and nothing was dropped: mount, restore or unlock what is missing, then run `lesson15
    resume {batch_id}`; with `--prune` it drops these documents from the index.
    """


class SystemRefusedError(StorageError):
    detail: object
    message = """
    The system refused what was asked of it ({detail}). What was committed before is safe: mend the
    disk, the permissions or the limit that it names, and try again.
    """


class OutputError(StorageError):
    detail: object
    message = """
    The output could not be written ({detail}). What was done before is safe; `lesson15 status`
    shows it.
    """


class BrokerUnavailableError(StorageError):
    url: str
    detail: object
    message = """
    The broker at {url} cannot be reached ({detail}). Start it, or correct --broker or
    LESSON15_BROKER_URL; what was done is safe.
    """


class ShardFailedError(StorageError):
    path: object
    owner: str
    detail: object
    message = """
    A shard failed on every attempt, the last time on {owner} ({detail}). Mend that, then run
    `lesson15 resume`.
    """


class EmbeddingModelError(Lesson15Error):
    model: str
    detail: object
    message = """
    The embedding model {model!r} could not be loaded ({detail}). `lesson15 doctor` checks the
    installation.
    """
