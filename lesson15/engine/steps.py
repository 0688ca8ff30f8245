"""Steps between chunking and embedding: to clean, deduplicate, summarise, translate, ...

A step is a function from the chunks of a document to the chunks that take their place::

    def without_boilerplate(chunks):
        return [chunk for chunk in chunks if "All rights reserved" not in chunk.text]

It may change, drop or add chunks; ``dataclasses.replace(chunk, text=...)`` keeps what is known of a
chunk. A document may be processed again, after a crash or an error, and several documents are in
work at once: a step that keeps something between documents must not depend on their order.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

from lesson15 import plugins
from lesson15.documents.checking import check_chunks
from lesson15.errors import Lesson15Error, NoChunksError, StepError, StepTimeoutError, UsageError
from lesson15.models import Chunk
from lesson15.plugins import Group
from lesson15.recovery import FILE_NOT_FOUND, PARSE_ERROR, classify
from lesson15.threads import in_thread

ChunkStep = Callable[[Sequence[Chunk]], Iterable[Chunk] | Awaitable[Iterable[Chunk]]]
"""What a step is: a plain function runs in a thread, an ``async`` one on the event loop."""


def check_steps(steps: Sequence[str | ChunkStep]) -> None:
    """Raise UnknownNameError or UsageError unless each of ``steps`` is one, or the name of one."""
    if isinstance(steps, str):
        raise UsageError(problem=f"steps={steps!r} is one name: give a list of them.")
    if not isinstance(steps, Iterable):
        raise UsageError(problem=f"steps={steps!r} is no list of steps.")
    for step in steps:
        if isinstance(step, str):
            plugins.check_name(Group.STEPS, step, ())
        elif not callable(step):
            raise UsageError(problem=f"{step!r} is no step: give a name or a function of chunks.")


def name_of(step: str | ChunkStep) -> str:
    """The name under which a batch records ``step``."""
    if isinstance(step, str):
        return step
    return getattr(step, "__name__", None) or type(step).__name__


def open_steps(steps: Iterable[str | ChunkStep], timeout: float) -> list[Step]:
    """The ``steps``, ready to run.

    Raises:
        UnknownNameError: there is none of a name.
        PluginError: a plugin is broken.
    """
    return [Step(name_of(step), _function(step), timeout) for step in steps]


def _function(step: str | ChunkStep) -> ChunkStep:
    if isinstance(step, str):
        return plugins.make(Group.STEPS, step)
    return step() if isinstance(step, type) else step


class Step:
    """One step of a run; ``timeout`` is in seconds, for one document."""

    def __init__(self, name: str, function: ChunkStep, timeout: float) -> None:
        self.name = name
        self._function = function
        self._timeout = timeout
        call = getattr(function, "__call__", None)  # noqa: B004 - of an object, to look at it
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)

    async def __call__(self, path: str, chunks: Sequence[Chunk]) -> list[Chunk]:
        """What the step makes of the ``chunks`` of the document at ``path``.

        Raises:
            StepError: it raised something that the policy table does not know.
            InvalidChunkError: what it returned are no chunks.
            NoChunksError: nothing is left.
            StepTimeoutError: it took too long; its thread is left behind.
            Exception: whatever it raised that is worth a retry, or an error of lesson15.
        """
        source = f"the step {self.name!r}"
        try:
            async with asyncio.timeout(self._timeout) as limit:
                if self._is_async:
                    made = await _awaited(self._function(chunks))
                else:
                    made = await in_thread("lesson15-step", partial(self._collect, chunks))
                    if inspect.isawaitable(made):  # a plain function that returns a coroutine
                        made = await made
        except TimeoutError as error:
            if limit.expired():
                raise StepTimeoutError(
                    step=self.name, seconds=self._timeout, setting="STEP_TIMEOUT"
                ) from error
            raise
        except Exception as error:
            if isinstance(error, Lesson15Error) or _is_classified(error):
                raise
            detail = f"{type(error).__name__}: {error}"
            raise StepError(path=path, step=source, detail=detail) from error
        found = check_chunks(made, path, source)
        if not found:
            raise NoChunksError(path=path, step=self.name)
        return found

    def _collect(self, chunks: Sequence[Chunk]) -> Any:
        """Call the function; a generator runs here, in the thread, too."""
        made = self._function(chunks)
        return list(made) if inspect.isgenerator(made) else made


def _is_classified(error: Exception) -> bool:
    """Whether the policy table has a row for it, other than that a document is at fault.

    A file that a step misses is not the document.
    """
    return classify(error) not in (PARSE_ERROR, FILE_NOT_FOUND)


async def _awaited(made: Any) -> Any:
    return await made
