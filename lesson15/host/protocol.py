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
    """One run of one batch, or of its dead-letter list: ``is_retry``.

    ``paths`` are what to go on with, or to begin with; None: what the batch was made of.
    ``settings`` are for Settings, ``options`` for BatchProcessor. At least ``interval`` seconds lie
    between two reports. ``kinds`` are the kinds of events to report, None for all. With
    ``pause_ends`` the process ends as soon as a pause is durable.
    """

    batch_id: str
    paths: list[str] | None
    settings: dict[str, Any]
    options: dict[str, Any]
    is_retry: bool = False
    interval: float = 0.05
    kinds: list[str] | None = None
    obeys_faults: bool = False
    pause_ends: bool = False
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
