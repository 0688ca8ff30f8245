"""Micro-batching: chunks of several documents go through the model together.

A model pads every text of a call to the longest one, so the work is least when lengths are alike.
Each call takes the chunk that has waited longest, so that none starves, and those nearest to it in
length, whichever documents they belong to. No thread is idle while a chunk waits, and a lone
document is not kept waiting for company.

There are as many calls at once, and as many chunks in each, as the embedder says
(:class:`~lesson15.embedding.base.Traits`). A small model runs faster as one call a core than as one
call spread over the cores, which wait for each other after every operation: on a machine with other
work the difference is several times. How a call is made again when it fails:
:mod:`lesson15.embedding.calls`.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesson15.embedding.base import CallHooks, CallOptions, Embedder, Vectors
from lesson15.embedding.calls import ModelCalls

_LOOK_AHEAD = 1024


@dataclass(slots=True, eq=False)
class _Document:
    """The vectors of one document's chunks, of which ``left`` are still to come."""

    vectors: list[NDArray[Any] | None]
    future: asyncio.Future[Vectors]
    left: int

    def fill(self, number: int, vector: NDArray[Any]) -> None:
        """Put the vector (dimensions) of chunk ``number`` in its place."""
        self.vectors[number] = vector
        self.left -= 1
        if not self.left and not self.future.done():
            self.future.set_result(np.stack(self.vectors))  # type: ignore[arg-type]

    def fail(self, error: Exception) -> None:
        """Let the document fail, unless it has been settled already."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True, eq=False)
class _Chunk:
    """One chunk that waits; its size in UTF-8 bytes goes with its tokens in any language."""

    document: _Document
    number: int
    text: str
    size: int


class MicroBatcher:
    """Serves ``await embed(texts)`` for many documents at once, on one event loop.

    Args:
        open_embedder: makes the embedder. It is called in a thread when the first text arrives, so
            that a batch with nothing to do never loads a model.
        max_chunks: chunks in one call, where the embedder does not say.
        timeout: seconds for one call, in place of that of ``options``.
        options: how calls are repeated.
        hooks: whom to tell of outages and of pressure.
    """

    def __init__(
        self,
        open_embedder: Callable[[], Embedder],
        max_chunks: int = 8,
        timeout: float | None = None,
        options: CallOptions | None = None,
        hooks: CallHooks | None = None,
    ) -> None:
        options = options or CallOptions()
        if timeout is not None:
            options = replace(options, timeout=timeout)
        self._model = ModelCalls(open_embedder, options, hooks or CallHooks())
        self._max_chunks = max_chunks
        self._waiting: deque[_Chunk] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._opening: asyncio.Task[None] | None = None

    async def embed(self, texts: list[str]) -> Vectors:
        """Vectors (len(texts) x dimensions) of one document's chunks, of which there is one.

        Raises:
            StepTimeoutError: the model took longer than the timeout for one of them.
            RefusedTextError, RepeatedCallError: one of them cannot be embedded.
            ServiceOutageError, EmbeddingModelError: none can; the batch has to end.
        """
        future: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        document = _Document([None] * len(texts), future, len(texts))
        self._waiting.extend(
            _Chunk(document, number, text, len(text.encode())) for number, text in enumerate(texts)
        )
        # Not at once: documents that are ready in this turn of the loop join in.
        asyncio.get_running_loop().call_soon(self._start_calls)
        return await future

    def _start_calls(self) -> None:
        if not self._model.is_open:
            if self._opening is None and self._waiting:
                self._opening = asyncio.create_task(self._open())
            return
        while len(self._calls) < self._model.traits.threads and (taken := self._take()):
            call = asyncio.create_task(self._call(taken))
            self._calls.add(call)
            call.add_done_callback(self._end_call)

    async def _open(self) -> None:
        try:
            await self._model.open()
        except Exception as error:  # noqa: BLE001 - handed to the documents that wait for it
            while self._waiting:
                self._waiting.popleft().document.fail(error)
        self._opening = None
        self._start_calls()

    def _end_call(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            self._start_calls()

    def _take(self) -> list[_Chunk]:
        """The chunk that waits longest and those nearest to it in length, no longer waiting."""
        alive: list[_Chunk] = []
        while self._waiting and len(alive) < _LOOK_AHEAD:
            chunk = self._waiting.popleft()
            if not chunk.document.future.done():  # cancelled, or another of its chunks failed
                alive.append(chunk)
        if not alive:
            return []
        size = alive[0].size
        most = self._model.traits.batch_size or self._max_chunks
        taken = heapq.nsmallest(most, alive, key=lambda chunk: abs(chunk.size - size))
        chosen = set(map(id, taken))
        self._waiting.extendleft(chunk for chunk in reversed(alive) if id(chunk) not in chosen)
        return taken

    async def _call(self, taken: list[_Chunk]) -> None:
        results = await self._model.run([chunk.text for chunk in taken])
        for chunk, result in zip(taken, results, strict=True):
            if isinstance(result, Exception):
                chunk.document.fail(result)
            else:
                chunk.document.fill(chunk.number, result)

    async def aclose(self) -> None:
        """Stop; documents still waiting are cancelled."""
        tasks = [*self._calls, *([self._opening] if self._opening else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for chunk in self._waiting:
            chunk.document.future.cancel()
        self._waiting.clear()
        await self._model.aclose()
