"""The side of the engine: one run of one batch, which obeys commands and reports.

``python -m lesson15.host.child`` is the process: it cannot hold up or take down anybody else, and
can be killed at any time. When stdin ends, whoever started it is gone, and it stops the batch.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from lesson15.engine.processor import BatchProcessor
from lesson15.errors import BatchLockedError, BatchNotFoundError, Lesson15Error
from lesson15.events import Event, RunOpened
from lesson15.faults import FaultControl
from lesson15.host.protocol import Ended, LogLine, Message, Progress, Request, pack, unpack
from lesson15.host.states import Command, State
from lesson15.logs import render_lines, send_logs_to
from lesson15.settings import Settings

_LOCK_PATIENCE_SECONDS = 30.0


class EngineHost:
    """Does ``request`` on the event loop of its caller; ``emit`` gets messages, some at a time."""

    def __init__(self, request: Request, emit: Callable[[list[Message]], None]) -> None:
        self._request = request
        self._emit = emit
        self._outbox: list[Message] = []
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[Command] = []
        self._processor: BatchProcessor | None = None
        self.is_open = False

    async def run(self) -> Ended:
        """Do the task; how it ended is returned, never raised."""
        try:
            report = await self._work()
            state = State(report["status"])
            # To retry failed documents leaves the batch as it was: perhaps interrupted.
            end = Ended(State.INTERRUPTED if state.is_active else state, report=report)
        except asyncio.CancelledError:
            end = Ended(State.CANCELLED)
        except Exception as error:  # noqa: BLE001 - told to whoever watches
            kind = "" if isinstance(error, Lesson15Error) else f"{type(error).__name__}: "
            end = Ended(State.ABORTED, f"{kind}{error}")
        self._flush()
        return end

    def command(self, command: Command) -> None:
        """Pause, unpause or cancel; what comes before the batch is open waits for that."""
        if self._processor is None or not self.is_open:
            self._waiting.append(command)
        else:
            getattr(self._processor, command)()

    async def _work(self) -> dict[str, Any]:
        """A search, or a process that is about to end, may hold the batch for a while."""
        settings = Settings(**self._request.settings)
        faults = FaultControl(settings.state_dir, self._request.batch_id)
        self._processor = processor = BatchProcessor(
            settings=settings, faults=faults if self._request.obeys_faults else None,
            **self._request.options,
        )  # fmt: skip
        processor.is_strict = False  # those are the settings of every batch of a host
        processor.listeners.append(self._note)
        patiently = AsyncRetrying(
            retry=retry_if_exception_type(BatchLockedError), wait=wait_fixed(0.5),
            stop=stop_after_delay(_LOCK_PATIENCE_SECONDS), reraise=True,
        )  # fmt: skip
        return await patiently(self._begin, processor)

    async def _begin(self, processor: BatchProcessor) -> dict[str, Any]:
        paths, batch_id = self._request.paths, self._request.batch_id
        if self._request.is_retry:
            return await processor.retry_failed(batch_id)
        if paths is None:
            return await processor.resume_batch(batch_id)
        with suppress(BatchNotFoundError):
            return await processor.process_batch(paths, batch_id, resume=True)
        return await processor.process_batch(paths, batch_id)

    def _note(self, event: Event) -> None:
        self._outbox.append(event)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._request.interval, self._flush)
        if isinstance(event, RunOpened):
            self.is_open = True
            for command in self._waiting:
                self.command(command)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        processor, batch_id = self._processor, self._request.batch_id
        if processor is not None and (tracker := processor.progress(batch_id)) is not None:
            state = processor.active_batches[batch_id]
            self._outbox.append(Progress(state, tracker.eta_seconds, round(tracker.rate, 2)))
        if self._outbox:
            messages, self._outbox = self._outbox, []
            self._emit(messages)


class Outlet(logging.Handler):
    """Sends messages and log lines to what was stdout; what others print there goes to stderr."""

    def __init__(self) -> None:
        super().__init__()
        self._pipe = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def send(self, messages: list[Message]) -> None:
        """Send ``messages``, from any thread."""
        with suppress(BrokenPipeError):  # the reader of stdin notices that as well
            self._pipe.write(b"".join(map(pack, messages)))
            self._pipe.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Send ``record``: an event of structlog, which puts a dict there, or a line of text."""
        message: Any = record.msg
        fields = message if isinstance(message, dict) else {"event": record.getMessage()}
        kept = {name: fields[name] for name in fields if name not in ("timestamp", "level")}
        self.send([LogLine(record.levelno, kept)])


async def _serve(request: Request, outlet: Outlet) -> None:
    loop, host = asyncio.get_running_loop(), EngineHost(request, outlet.send)
    loop.add_signal_handler(signal.SIGTERM, host.command, Command.CANCEL)

    def obey() -> None:
        for line in sys.stdin.buffer:
            loop.call_soon_threadsafe(host.command, unpack(line))
        if not host.is_open:
            os._exit(1)  # there is nothing to save, and it must not wait for the batch's lock
        loop.call_soon_threadsafe(host.command, Command.CANCEL)

    threading.Thread(target=obey, daemon=True).start()
    outlet.send([await host.run()])
    os._exit(0)  # past the reader of stdin, which would wait on


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of whoever started it
    outlet = Outlet()
    request = unpack(sys.stdin.buffer.readline())
    render_lines(is_plain=False)
    send_logs_to(outlet, request.log_level)
    asyncio.run(_serve(request, outlet))
