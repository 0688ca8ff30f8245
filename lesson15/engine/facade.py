"""The engine for scripts without an event loop, and for notebooks that have one already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from lesson15.engine.feed import Paths
from lesson15.engine.processor import BatchProcessor

T = TypeVar("T")


def run(
    doc_paths: Paths, batch_id: str | None = None, resume: bool = False, **options: Any
) -> dict[str, Any]:
    """Process a batch and return its report, blocking until it is done.

    ``options`` are those of :class:`BatchProcessor`; errors are those of
    :meth:`BatchProcessor.process_batch`. Works inside a running loop too (a notebook): the batch
    then runs on a loop in a thread of its own. An interruption of the caller (Ctrl-C, or Stop in a
    notebook) stops the batch at a last checkpoint, and is raised after it.

    Example:
        >>> import lesson15
        >>> lesson15.run(["data/sample_docs"], "monday", embedder="hashing")["failed_docs"]
        7
    """
    processor = BatchProcessor(**options)
    return run_sync(processor.process_batch(doc_paths, batch_id, resume))


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, whether or not a loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    return _run_in_thread(work)


def _run_in_thread(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, run by a loop in a thread; it is cancelled if the caller is
    interrupted.
    """
    outcome: Future[T] = Future()
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = Future()

    async def main() -> T:
        task = asyncio.create_task(work)
        begun.set_result((asyncio.get_running_loop(), task))
        return await task

    def target() -> None:
        try:
            outcome.set_result(asyncio.run(main()))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            outcome.set_exception(error)

    thread = threading.Thread(target=target, name="lesson15-run")
    thread.start()
    try:
        return outcome.result()
    except BaseException:
        if not outcome.done():
            loop, task = begun.result()
            loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        thread.join()
