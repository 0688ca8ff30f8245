"""What happens in a batch: one class for each kind of event, and the codec of its JSON form.

Events are facts in the past tense. The journal keeps them in order, a reducer folds them into
counts, and listeners are told of them as they happen. Code matches on the classes::

    match event:
        case DocSettled(doc_id=doc_id, status=DocStatus.DONE):
            ...

The short keys of the JSON form are known to :func:`encode` and :func:`decode` alone; docs/events.md
describes them. Times are seconds since the epoch, rounded to milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from lesson15.models import BatchStatus, DocStatus

Record = dict[str, Any]
"""The JSON form of an event."""


class BlockRef(NamedTuple):
    """Where a block of the segment lies: byte offset, length in bytes, CRC-32 (in clear)."""

    offset: int
    length: int
    crc: int


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A process began to work; ``total`` documents were expected then, 0 if not known."""

    kind: ClassVar[str] = "run"
    at: float
    pid: int = 0
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocSettled:
    """A document has a verdict: ``status`` is done, failed or skipped.

    ``chunks`` counts its chunks, ``seconds`` is the time that it took, ``worker`` the number of the
    worker, from 0, and ``attempts`` counts from 1. ``fingerprint`` is the file's size and times.
    ``first_row`` is the row of its first vector and ``block`` the place of its vectors and texts;
    both are None of a document without chunks. ``previous_status`` and ``previous_chunks`` are what
    this verdict replaces, None and 0 of a new document.
    """

    kind: ClassVar[str] = "doc"
    doc_id: str
    status: DocStatus
    chunks: int = 0
    at: float = 0.0
    seconds: float = 0.0
    worker: int | None = None
    attempts: int = 1
    fingerprint: list[int] | None = None
    sha256: str | None = None
    first_row: int | None = None
    block: BlockRef | None = None
    error: str | None = None
    error_type: str | None = None
    previous_status: DocStatus | None = None
    previous_chunks: int = 0

    @property
    def rows(self) -> range:
        """The rows of its vectors."""
        first = self.first_row or 0
        return range(first, first + self.chunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocRemoved:
    """A document left the batch, because its file is gone; the rest as in :class:`DocSettled`."""

    kind: ClassVar[str] = "gone"
    doc_id: str
    at: float | None = None
    previous_status: DocStatus | None = None
    previous_chunks: int = 0


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """Attempt number ``attempt`` begins, as the one before failed with ``error``."""

    kind: ClassVar[str] = "retry"
    doc_id: str
    attempt: int
    policy: str
    error: str
    at: float


@dataclass(frozen=True, slots=True)
class LimitChanged:
    """From now on at most ``limit`` documents are in work."""

    kind: ClassVar[str] = "limit"
    limit: int
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class FaultInjected:
    """A fault was injected on request; ``doc_id`` is None if it met no document in particular."""

    kind: ClassVar[str] = "fault"
    point: str
    fault: str
    doc_id: str | None
    at: float


@dataclass(frozen=True, slots=True)
class TotalCounted:
    """The batch turned out to have ``total`` documents."""

    kind: ClassVar[str] = "total"
    total: int
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Paused:
    """The batch takes no further documents; those in work are settled."""

    kind: ClassVar[str] = "pause"
    at: float


@dataclass(frozen=True, slots=True)
class Unpaused:
    """The batch goes on after a pause."""

    kind: ClassVar[str] = "unpause"
    at: float


@dataclass(frozen=True, slots=True)
class ServiceLost:
    """A service that documents need does not answer: the batch waits for it, and asks again."""

    kind: ClassVar[str] = "outage"
    service: str
    error: str
    at: float


@dataclass(frozen=True, slots=True)
class ServiceBack:
    """A lost service answers again, ``seconds`` later."""

    kind: ClassVar[str] = "recovery"
    service: str
    seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class PartsChanged:
    """The batch goes on with other versions of its parts: of each the one before, and the new."""

    kind: ClassVar[str] = "parts"
    changes: dict[str, list[str]]
    at: float


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run ended with ``status`` after ``seconds``."""

    kind: ClassVar[str] = "end"
    status: BatchStatus
    seconds: float
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """The last event of commit ``number``: all events before it are durable."""

    kind: ClassVar[str] = "commit"
    number: int
    at: float


@dataclass(frozen=True, slots=True)
class RunOpened:
    """A batch is open and can be paused and cancelled from now on. Told to listeners, not kept."""

    kind: ClassVar[str] = "opened"
    batch_id: str
    at: float


@dataclass(frozen=True, slots=True)
class DocStarted:
    """A document was taken into work. Told to listeners, not kept."""

    kind: ClassVar[str] = "started"
    doc_id: str
    worker: int | None
    at: float


Event = (
    RunStarted | DocSettled | DocRemoved | AttemptFailed | LimitChanged | FaultInjected
    | TotalCounted | Paused | Unpaused | ServiceLost | ServiceBack | PartsChanged | RunEnded
    | Committed | RunOpened | DocStarted
)  # fmt: skip


def now() -> float:
    """The time for a new event."""
    return round(time.time(), 3)


_KEYS: dict[type[Any], tuple[tuple[str, str], ...]] = {
    RunStarted: (("at", "at"), ("pid", "pid"), ("total", "n")),
    DocSettled: (
        ("doc_id", "id"), ("status", "s"), ("chunks", "n"), ("at", "at"), ("seconds", "sec"),
        ("worker", "w"), ("attempts", "try"), ("fingerprint", "fp"), ("sha256", "sha"),
        ("first_row", "row"), ("block", "seg"), ("error", "err"), ("error_type", "et"),
        ("previous_status", "was"), ("previous_chunks", "was_n"),
    ),
    DocRemoved: (
        ("doc_id", "id"), ("at", "at"), ("previous_status", "was"), ("previous_chunks", "was_n"),
    ),
    AttemptFailed: (
        ("doc_id", "id"), ("attempt", "try"), ("policy", "policy"), ("error", "err"), ("at", "at"),
    ),
    LimitChanged: (("limit", "n"), ("reason", "why"), ("at", "at")),
    FaultInjected: (("point", "point"), ("fault", "kind"), ("doc_id", "id"), ("at", "at")),
    TotalCounted: (("total", "n"), ("at", "at")),
    Paused: (("at", "at"),),
    Unpaused: (("at", "at"),),
    ServiceLost: (("service", "service"), ("error", "err"), ("at", "at")),
    ServiceBack: (("service", "service"), ("seconds", "seconds"), ("at", "at")),
    PartsChanged: (("changes", "parts"), ("at", "at")),
    RunEnded: (("status", "status"), ("seconds", "seconds"), ("at", "at")),
    Committed: (("number", "n"), ("at", "at")),
    RunOpened: (("batch_id", "batch"), ("at", "at")),
    DocStarted: (("doc_id", "id"), ("worker", "w"), ("at", "at")),
}  # fmt: skip
"""The fields of a kind of event, and the keys that they have in JSON."""

_READ: dict[str, Callable[[Any], Any]] = {
    "s": DocStatus,
    "was": DocStatus,
    "status": BatchStatus,
    "seg": lambda value: BlockRef(*value),
}
"""How the values of some keys are read."""

_KINDS = {kind.kind: kind for kind in _KEYS}
_NULLABLE = {"id", "w"}  # these keys are there even if they have no value


def encode(event: Event) -> Record:
    """The JSON form of ``event``; fields that have no value are left out."""
    record: Record = {"t": event.kind}
    for name, key in _KEYS[type(event)]:
        value = getattr(event, name)
        if value is not None or key in _NULLABLE:
            record[key] = value
    if isinstance(event, DocSettled | DocRemoved):
        if event.previous_status is None:
            del record["was_n"]
        if isinstance(event, DocSettled):
            if event.attempts == 1:
                del record["try"]
            if event.block is not None:
                record["seg"] = list(event.block)
    return record


def decode(record: Record) -> Event:
    """The event whose JSON form is ``record``.

    Raises:
        ValueError: ``record`` is of no known kind, or lacks a field of its kind.
    """
    try:
        kind = _KINDS[record["t"]]
        values = {}
        for name, key in _KEYS[kind]:
            value = record.get(key)
            if value is not None or (key in _NULLABLE and key in record):
                values[name] = _READ[key](value) if key in _READ else value
        event: Event = kind(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this is not an event of a batch: {record!r}") from error
    return event
