"""The engine for scripts without an event loop, and for notebooks that have one already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from lesson15.engine.processor import BatchProcessor, Paths


def run(
    doc_paths: Paths, batch_id: str | None = None, resume: bool = False, **options: Any
) -> dict[str, Any]:
    """Process a batch and return its report, blocking until it is done.

    ``options`` are those of :class:`BatchProcessor`; errors are those of
    :meth:`BatchProcessor.process_batch`. Works inside a running loop too (a notebook): the batch
    then runs on a loop in a thread of its own.

    Example:
        >>> import lesson15
        >>> lesson15.run(["data/sample_docs"], "monday", embedder="hashing")["failed_docs"]
        7
    """
    processor = BatchProcessor(**options)
    return run_sync(processor.process_batch(doc_paths, batch_id, resume))


def run_sync(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """The result of ``work``, whether or not a loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    outcome: list[dict[str, Any] | BaseException] = []

    def target() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            outcome.append(error)

    thread = threading.Thread(target=target, name="lesson15-run")
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
