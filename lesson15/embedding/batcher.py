"""Micro-batching: chunks of several documents go through the model together.

A model pads every text of a call to the longest one, so the work is least when lengths are alike.
Each call takes the chunk that has waited longest, so that none starves, and those nearest to it in
length, whichever documents they belong to. No thread is idle while a chunk waits, and a lone
document is not kept waiting for company.

There is one thread, or as many as the embedder says: a small model runs faster as one call a core
than as one call spread over the cores, which wait for each other after every operation. On a
machine with other work the difference is several times.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lesson15.embedding.base import Embedder, ParallelEmbedder, Vectors
from lesson15.errors import StepTimeoutError

_LOOK_AHEAD = 1024


class _Document:
    """The chunks of one document, and the vectors of those that are done."""

    def __init__(self, texts: list[str], future: asyncio.Future[Vectors]) -> None:
        self.texts = texts
        self.future = future
        self._left = len(texts)
        self._vectors: Vectors | None = None

    def fill(self, number: int, vector: Vectors) -> None:
        """Put the vector (dimensions) of chunk ``number`` in its place."""
        if self._vectors is None:
            self._vectors = np.empty((len(self.texts), len(vector)), np.float32)
        self._vectors[number] = vector
        self._left -= 1
        if not self._left and not self.future.done():
            self.future.set_result(self._vectors)


class _Chunk:
    """One chunk that waits; its size in UTF-8 bytes goes with its tokens in any language."""

    __slots__ = ("document", "number", "size")

    def __init__(self, document: _Document, number: int) -> None:
        self.document = document
        self.number = number
        self.size = len(self.text.encode())

    @property
    def text(self) -> str:
        return self.document.texts[self.number]


class MicroBatcher:
    """Serves ``await embed(texts)`` for many documents at once, on one event loop.

    ``open_embedder`` is called in the embedding thread when the first text arrives, so that a
    batch with nothing to do never loads a model.
    """

    def __init__(
        self, open_embedder: Callable[[], Embedder], max_chunks: int = 8, timeout: float = 300.0
    ) -> None:
        self._open = open_embedder
        self._embedder: Embedder | None = None
        self._max_chunks = max_chunks
        self._timeout = timeout
        self._waiting: deque[_Chunk] = deque()
        self._threads = _new_threads()
        self._may_run = 1  # until the embedder is open
        self._calls: set[asyncio.Task[None]] = set()
        self._begun = threading.local()

    async def embed(self, texts: list[str]) -> Vectors:
        """Vectors (len(texts) x dimensions) of one document's chunks, of which there is one.

        Raises:
            StepTimeoutError: the model took longer than the timeout.
            Exception: whatever the embedder raised, to every document of the micro-batch.
        """
        document = _Document(texts, asyncio.get_running_loop().create_future())
        self._waiting.extend(_Chunk(document, number) for number in range(len(texts)))
        # Not at once: documents that are ready in this turn of the loop join in.
        asyncio.get_running_loop().call_soon(self._start_calls)
        return await document.future

    def _start_calls(self) -> None:
        while len(self._calls) < self._may_run and (taken := self._take()):
            call = asyncio.create_task(self._call(taken))
            self._calls.add(call)
            call.add_done_callback(self._end_call)

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
        taken = heapq.nsmallest(self._max_chunks, alive, key=lambda chunk: abs(chunk.size - size))
        chosen = set(map(id, taken))
        self._waiting.extendleft(chunk for chunk in reversed(alive) if id(chunk) not in chosen)
        return taken

    async def _call(self, taken: list[_Chunk]) -> None:
        texts = [chunk.text for chunk in taken]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                vectors = await loop.run_in_executor(self._threads, self._run, texts)
        except Exception as error:  # noqa: BLE001 - handed to the documents that wait for it
            if isinstance(error, TimeoutError) and not isinstance(error, StepTimeoutError):
                error = StepTimeoutError(
                    step="embed", seconds=self._timeout, setting="EMBED_TIMEOUT"
                )
                # The thread cannot be killed: it is left behind and new ones take over.
                self._threads.shutdown(wait=False)
                self._threads = _new_threads()
            for chunk in taken:
                if not chunk.document.future.done():
                    chunk.document.future.set_exception(error)
            return
        for chunk, vector in zip(taken, vectors, strict=True):
            chunk.document.fill(chunk.number, vector)

    def _run(self, texts: list[str]) -> Vectors:
        if self._embedder is None:
            self._embedder = self._open()
            if isinstance(self._embedder, ParallelEmbedder):
                self._may_run = self._embedder.threads
        if isinstance(self._embedder, ParallelEmbedder) and not hasattr(self._begun, "yes"):
            self._embedder.begin_thread()
            self._begun.yes = True
        vectors = self._embedder.embed(texts)
        if len(vectors) != len(texts):
            raise ValueError(f"the embedder made {len(vectors)} vectors of {len(texts)} texts")
        return vectors

    async def aclose(self) -> None:
        """Stop; documents still waiting are cancelled."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        for chunk in self._waiting:
            chunk.document.future.cancel()
        self._waiting.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _new_threads() -> ThreadPoolExecutor:
    """Threads are started when they are needed."""
    return ThreadPoolExecutor(os.cpu_count(), "lesson15-embed")
