"""Daemon threads for calls that block, one call each.

A thread of ``concurrent.futures`` is joined when the interpreter exits: one call that never returns
would keep the process for ever. These threads are not waited for.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[Future[Any], Callable[[], Any]]


async def to_the_end(
    function: Callable[..., T], *arguments: Any, discard: Callable[[T], object] | None = None
) -> T:
    """``function(*arguments)`` in a thread, which has ended when this returns or raises.

    :func:`asyncio.to_thread` leaves the thread at its work when the caller is cancelled; it could
    then go on after a lock has been given back. ``discard`` gets the result of that case.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if discard is not None and not work.cancelled() and work.exception() is None:
            discard(work.result())
        raise


class DaemonThreads:
    """Runs functions in threads, as many at once as there are callers; on one event loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: list[SimpleQueue[_Job | None]] = []
        self._started = 0

    async def run(self, function: Callable[[], T]) -> T:
        """What ``function()`` returns, called in a thread, in the context of the caller.

        A caller that is cancelled leaves the thread behind; it ends when the function does.
        """
        future: Future[T] = Future()
        jobs = self._idle.pop() if self._idle else self._start()
        jobs.put((future, partial(contextvars.copy_context().run, function)))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.cancel()
            raise
        finally:
            if future.cancelled():
                jobs.put(None)  # it may never come back from its call
            else:
                self._idle.append(jobs)

    def close(self) -> None:
        """Let the threads that do nothing end."""
        while self._idle:
            self._idle.pop().put(None)

    def _start(self) -> SimpleQueue[_Job | None]:
        jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._started += 1
        name = f"{self._name}-{self._started}"
        threading.Thread(target=_work_off, args=(jobs,), name=name, daemon=True).start()
        return jobs


async def in_thread(name: str, function: Callable[[], T]) -> T:
    """What ``function()`` returns, called in a thread of its own; see :meth:`DaemonThreads.run`."""
    threads = DaemonThreads(name)
    try:
        return await threads.run(function)
    finally:
        threads.close()


def _work_off(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        future, function = job
        result, error = None, None
        try:
            result = function()
        except Exception as caught:  # noqa: BLE001 - handed to the caller
            error = caught
        except BaseException as caught:  # noqa: BLE001 - sys.exit in a thread ends that thread only
            error = RuntimeError(f"{type(caught).__name__}: {caught}")
        if isinstance(error, StopIteration):  # which no future takes
            error = RuntimeError(f"StopIteration: {error}")
        with suppress(InvalidStateError, RuntimeError):  # nobody waits, or the loop is closed
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        del future, function, job, result, error  # an idle thread keeps nothing alive
