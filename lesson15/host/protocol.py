"""What the two sides of a host say to each other: one JSON object a line.

In goes a :class:`Request`, and then a :class:`Command` a line. Out come the events of the engine,
and besides :class:`Progress`, :class:`LogLine` and at last :class:`Ended`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import TypeAdapter

from lesson15.events import Event, decode, encode
from lesson15.host.states import Command, State
from lesson15.models import BatchState


@dataclass(frozen=True, slots=True)
class Request:
    """One run of one batch."""

    batch_id: str
    paths: list[str] | None  # to go on with, or to begin with; None: what the batch was made of
    settings: dict[str, Any]  # for Settings
    options: dict[str, Any]  # for BatchProcessor
    is_retry: bool = False  # work on the dead-letter list, and nothing else
    interval: float = 0.05  # seconds between two reports, at least
    obeys_faults: bool = False  # strike as the batch's FaultControl says
    pause_ends: bool = False  # the process, once a pause is durable
    folder: str | None = None  # the working folder of the process
    log_level: str = "ERROR"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the batch is; ``eta`` is in seconds, ``rate`` documents a second."""

    state: BatchState
    eta: float | None
    rate: float


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that was logged in the host; ``level`` is that of the module ``logging``."""

    level: int
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """The run is over; ``stderr`` is the end of what a process said that died."""

    state: State
    error: str | None = None
    report: dict[str, Any] | None = None
    stderr: str = ""


Message = Event | Progress | LogLine | Ended
_CODECS: dict[str, TypeAdapter[Any]] = {
    kind.__name__: TypeAdapter(kind) for kind in (Request, Command, Progress, LogLine, Ended)
}


def pack(message: Message | Request | Command) -> bytes:
    """The line of ``message``."""
    name = type(message).__name__
    content = message if name in _CODECS else encode(message)  # type: ignore[arg-type]
    return orjson.dumps({"kind": name, "content": content}, default=str) + b"\n"


def unpack(line: bytes | bytearray) -> Any:
    """The message, request or command of a line."""
    message = orjson.loads(line)
    codec = _CODECS.get(message["kind"])
    return codec.validate_python(message["content"]) if codec else decode(message["content"])
