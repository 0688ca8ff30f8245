"""The engine in a place of its own (a thread or a process), taking commands and telling events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, Literal

from lesson15.checkpoint.journal import Record
from lesson15.engine.processor import BatchProcessor
from lesson15.errors import Lesson15Error
from lesson15.events import encode
from lesson15.faults import FaultControl
from lesson15.lab.spec import BatchSpec
from lesson15.models import BatchStatus, ProgressInfo
from lesson15.settings import Settings

Task = Literal["run", "resume", "retry"]
Emit = Callable[[list[Record]], None]
_FLUSH_SECONDS = 0.05


class EngineHost:
    """Runs one batch and hands its events to ``emit``, some at a time.

    The last event is ``{"t": "over", "status", "report", "error"}``.
    """

    def __init__(self, spec: BatchSpec, emit: Emit) -> None:
        self._spec = spec
        self._emit = emit
        self._events: list[Record] = []
        self._progress: ProgressInfo | None = None
        self._processor = BatchProcessor(
            spec.max_concurrent,
            spec.checkpoint_interval,
            state_dir=spec.state_dir,
            embedder=spec.embedder,
            store=spec.store,
            settings=Settings(retry_delay=spec.retry_delay),
            faults=FaultControl(spec.state_dir, spec.batch_id),
        )
        self._processor.listeners.append(lambda event: self._events.append(encode(event)))
        self._processor.progress_callbacks.append(self._note_progress)
        self._loop = asyncio.new_event_loop()
        self._work: asyncio.Task[dict[str, Any]] | None = None

    def run(self, task: Task) -> None:
        """Do ``task`` and return when it is over; the outcome is told, not raised."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run(task))

    async def _run(self, task: Task) -> None:
        flusher = asyncio.create_task(self._flush_forever())
        self._work = asyncio.create_task(self._begin(task))
        over: Record = {"t": "over", "status": BatchStatus.FINISHED.value}
        try:
            over["report"] = await self._work
            over["status"] = over["report"]["status"]
        except asyncio.CancelledError:
            over["status"] = BatchStatus.CANCELLED.value
        except Lesson15Error as error:
            over |= {"status": BatchStatus.ABORTED.value, "error": str(error)}
        except Exception as error:  # noqa: BLE001 - told to whoever watches, with its type
            over |= {
                "status": BatchStatus.ABORTED.value,
                "error": f"{type(error).__name__}: {error}",
            }
        flusher.cancel()
        self._events.append(over)
        self._flush()

    def _begin(self, task: Task) -> Coroutine[Any, Any, dict[str, Any]]:
        if task == "run":
            return self._processor.process_batch(self._spec.paths, self._spec.batch_id)
        if task == "resume":
            return self._processor.resume_batch(self._spec.batch_id)
        return self._processor.retry_failed(self._spec.batch_id)

    def command(self, name: str) -> None:
        """Obey ``name`` (pause, unpause or cancel); from any thread, at any time of the run."""
        self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self._obey(name)))

    async def _obey(self, name: str) -> None:
        while self._work is None or not (  # noqa: ASYNC110 - the processor has no event for it
            self._processor.active_batches or self._work.done()
        ):
            await asyncio.sleep(_FLUSH_SECONDS)  # the batch is being opened
        getattr(self._processor, name)()
        if name != "cancel":
            status = BatchStatus.PAUSED if name == "pause" else BatchStatus.RUNNING
            self._events.append({"t": "status", "status": status.value})

    def _note_progress(self, info: ProgressInfo) -> None:
        self._progress = info

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            self._flush()

    def _flush(self) -> None:
        if self._progress is not None:
            self._events.append({"t": "progress", **asdict(self._progress)})
            self._progress = None
        if self._events:
            events = list(self._events)
            self._events.clear()  # the list itself is the engine's listener
            self._emit(events)
