"""The worker process: runs one batch and tells the server about it; ``python -m`` starts it.

A process for each batch, so that an embedding model that takes every core and the interpreter
lock never holds up an answer of the server, and one that runs out of memory takes only its own
batch with it. The batch's lock and journal make it safe to kill at any time.

Requests come as one JSON object a line on stdin, the batch first and then commands; the end of
stdin means that the server is gone. Reports go out the same way on stdout.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import orjson
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from lesson15.api.jobs import JobKind
from lesson15.engine.processor import BatchProcessor
from lesson15.errors import BatchLockedError, BatchNotFoundError, Lesson15Error
from lesson15.events import DocSettled, Event, encode
from lesson15.faults import FaultControl
from lesson15.logs import render_lines, send_logs_to
from lesson15.models import BatchStatus
from lesson15.settings import Settings

_LOCK_PATIENCE_SECONDS = 30.0
_PAUSE_POLL_SECONDS = 0.02
Message = dict[str, Any]


class Outlet:
    """Writes messages, from any thread, to what was stdout; what others print goes to stderr."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: BinaryIO = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)

    def send(self, message: Message) -> None:
        """Write ``message``; the server being gone is noticed by the reader of stdin."""
        line = orjson.dumps(message, default=str) + b"\n"
        with self._lock:
            self._pipe.write(line)


class LogForwarder(logging.Handler):
    """Hands log lines to the server, which alone writes to its file."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__()
        self._outlet = outlet

    def emit(self, record: logging.LogRecord) -> None:
        """Send ``record``: an event of structlog, or a line of text."""
        message: Any = record.msg  # structlog puts a dict here
        fields = dict(message) if isinstance(message, dict) else {"event": record.getMessage()}
        fields.pop("timestamp", None)
        fields.pop("level", None)
        self._outlet.send({"t": "log", "level": record.levelno, "fields": fields})


class Worker:
    """One batch, the commands about it, and the reports on it."""

    def __init__(self, request: Message, outlet: Outlet) -> None:
        settings = Settings(**request["settings"])
        self._batch_id: str = request["batch_id"]
        self._request = request
        self._outlet = outlet
        self._outcomes: list[Message] = []
        self._processor = BatchProcessor(
            settings.max_concurrent,
            settings.checkpoint_interval,
            state_dir=settings.state_dir,
            settings=settings,
            faults=FaultControl(settings.state_dir, self._batch_id)
            if request["allow_faults"]
            else None,
        )
        self._processor.listeners.append(self._note)
        self._wish: str | None = None

    def _note(self, event: Event) -> None:
        if isinstance(event, DocSettled):
            self._outcomes.append(encode(event))

    def command(self, name: str) -> None:
        """Obey "cancel" or "pause" as soon as the batch has begun; both end the process."""
        self._wish = name
        if not self._processor.active_batches:
            return  # the reporter asks again
        if name == "cancel":
            self._processor.cancel()
        else:
            self._processor.pause()

    async def run(self) -> None:
        """Work the batch off and report its end, whatever that is."""
        reporter = asyncio.create_task(self._report())
        try:
            report = await self._process_patiently()
            end = {"state": report["status"], "error": None, "report": report}
        except Lesson15Error as error:
            end = {"state": BatchStatus.ABORTED, "error": str(error), "report": None}
        finally:
            reporter.cancel()
            self._send_progress()
        self._outlet.send({"t": "end", **end})

    async def _process_patiently(self) -> Message:
        """A search, or a worker that is about to die, may hold the batch for a moment."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(BatchLockedError),
            stop=stop_after_delay(_LOCK_PATIENCE_SECONDS),
            wait=wait_fixed(0.5),
            reraise=True,
        ):
            with attempt:
                return await self._process()
        raise AssertionError  # tenacity returned or raised

    async def _process(self) -> Message:
        processor, batch_id = self._processor, self._batch_id
        if self._request["kind"] == JobKind.RETRY:
            return await processor.retry_failed(batch_id)
        paths: list[str] = self._request["paths"]
        try:
            return await processor.process_batch(paths, batch_id, resume=True)
        except BatchNotFoundError:
            return await processor.process_batch(paths, batch_id)

    async def _report(self) -> None:
        """Send outcomes and progress, at a fixed rate and only if there are any."""
        has_begun = False
        due = time.monotonic()
        while True:
            due = max(due + self._request["interval"], time.monotonic())  # late ones do not add up
            await asyncio.sleep(due - time.monotonic())
            self._send_progress()
            if not has_begun and self._processor.active_batches:
                has_begun = True
                if self._wish is not None:
                    self.command(self._wish)
            if self._wish == "pause" and self._is_paused():
                # The pause is on disk and there is nothing else to save: this is the end. A
                # paused batch does not keep a process, so that others have its place.
                self._outlet.send({"t": "end", "state": "paused", "error": None, "report": None})
                os._exit(0)

    def _is_paused(self) -> bool:
        saved = self._processor.checkpoints.try_load(self._batch_id)
        return getattr(saved, "status", None) is BatchStatus.PAUSED

    def _send_progress(self) -> None:
        state = self._processor.active_batches.get(self._batch_id)
        tracker = self._processor.progress(self._batch_id)
        if self._outcomes:
            outcomes, self._outcomes = self._outcomes, []
            self._outlet.send({"t": "outcomes", "records": outcomes})
        if state is None or tracker is None:
            return
        self._outlet.send({
            "t": "progress",
            "total_docs": state.total_docs,
            "processed_docs": state.processed_docs,
            "failed_docs": state.failed_docs,
            "skipped_docs": state.skipped_docs,
            "chunks": state.chunks,
            "progress_percent": round(state.current_progress, 2),
            "eta": tracker.get_eta(),
            "rate": round(tracker.rate, 2),
        })  # fmt: skip


def _obey(loop: asyncio.AbstractEventLoop, command: Callable[[str], None]) -> None:
    """Pass commands on to the loop; at the end of stdin the server is gone, and so is this."""
    for line in sys.stdin.buffer:
        loop.call_soon_threadsafe(command, orjson.loads(line)["command"])
    os._exit(1)


async def _main(outlet: Outlet) -> None:
    worker = Worker(orjson.loads(sys.stdin.buffer.readline()), outlet)
    threading.Thread(
        target=_obey, args=(asyncio.get_running_loop(), worker.command), daemon=True
    ).start()
    await worker.run()


def main() -> None:
    """Serve one request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's business
    outlet = Outlet()
    render_lines(is_plain=False)
    send_logs_to(LogForwarder(outlet), os.environ.get("LESSON15_SERVICE_LOG_LEVEL", "INFO"))
    asyncio.run(_main(outlet))
    os._exit(0)  # past the reader of stdin, which would wait for the server to go


if __name__ == "__main__":
    main()
