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
    | TotalCounted | Paused | Unpaused | ServiceLost | ServiceBack | RunEnded | Committed
    | RunOpened | DocStarted
)  # fmt: skip


def now() -> float:
    """The time for a new event."""
    return round(time.time(), 3)


_KEYS: dict[type[Any], tuple[tuple[str, str], ...]] = {
    RunStarted: (("at", "at"), ("pid", "pid"), ("total", "n")),
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
    RunEnded: (("status", "status"), ("seconds", "seconds"), ("at", "at")),
    Committed: (("number", "n"), ("at", "at")),
    RunOpened: (("batch_id", "batch"), ("at", "at")),
    DocStarted: (("doc_id", "id"), ("worker", "w"), ("at", "at")),
}  # fmt: skip
"""The fields of a kind of event, and the keys that they have in JSON."""


def encode(event: Event) -> Record:
    """The JSON form of ``event``; fields that have no value are left out."""
    if isinstance(event, DocSettled):
        return _encode_settled(event)
    if isinstance(event, DocRemoved):
        record: Record = {"t": "gone", "id": event.doc_id}
        if event.at is not None:
            record["at"] = event.at
        _encode_previous(event, record)
        return record
    record = {"t": event.kind}
    for name, key in _KEYS[type(event)]:
        value = getattr(event, name)
        if value is not None or key == "id":
            record[key] = value
    return record


def _encode_settled(event: DocSettled) -> Record:
    record: Record = {
        "t": "doc",
        "id": event.doc_id,
        "s": event.status.value,
        "n": event.chunks,
        "at": event.at,
        "sec": event.seconds,
        "w": event.worker,
    }
    if event.attempts > 1:
        record["try"] = event.attempts
    if event.fingerprint is not None:
        record["fp"] = event.fingerprint
    if event.sha256 is not None:
        record["sha"] = event.sha256
    if event.block is not None:
        record["row"] = event.first_row
        record["seg"] = list(event.block)
    if event.error is not None:
        record["err"] = event.error
        record["et"] = event.error_type
    _encode_previous(event, record)
    return record


def _encode_previous(event: DocSettled | DocRemoved, record: Record) -> None:
    if event.previous_status is not None:
        record["was"] = event.previous_status.value
        record["was_n"] = event.previous_chunks


def _decode_settled(record: Record) -> DocSettled:
    block, previous = record.get("seg"), record.get("was")
    return DocSettled(
        doc_id=record["id"],
        status=DocStatus(record["s"]),
        chunks=record["n"],
        at=record.get("at", 0.0),
        seconds=record.get("sec", 0.0),
        worker=record.get("w"),
        attempts=record.get("try", 1),
        fingerprint=record.get("fp"),
        sha256=record.get("sha"),
        first_row=record.get("row"),
        block=BlockRef(*block) if block else None,
        error=record.get("err"),
        error_type=record.get("et"),
        previous_status=DocStatus(previous) if previous else None,
        previous_chunks=record.get("was_n", 0),
    )


def _decode_removed(record: Record) -> DocRemoved:
    previous = record.get("was")
    return DocRemoved(
        doc_id=record["id"],
        at=record.get("at"),
        previous_status=DocStatus(previous) if previous else None,
        previous_chunks=record.get("was_n", 0),
    )


def _decode_ended(record: Record) -> RunEnded:
    return RunEnded(BatchStatus(record["status"]), record["seconds"], record.get("at"))


def _decoder(kind: type[Any]) -> Callable[[Record], Event]:
    keys = _KEYS[kind]

    def decode_fields(record: Record) -> Event:
        event: Event = kind(**{name: record[key] for name, key in keys if key in record})
        return event

    return decode_fields


_DECODERS: dict[str, Callable[[Record], Event]] = {
    **{kind.kind: _decoder(kind) for kind in _KEYS},
    DocSettled.kind: _decode_settled,
    DocRemoved.kind: _decode_removed,
    RunEnded.kind: _decode_ended,
}


def decode(record: Record) -> Event:
    """The event whose JSON form is ``record``.

    Raises:
        ValueError: ``record`` is of no known kind, or lacks a field of its kind.
    """
    try:
        return _DECODERS[record["t"]](record)
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is not an event of a batch: {record!r}") from error
