"""Micro-batching: the chunks of several documents go through the model together, in one thread.

A document's chunks are never split over two calls unless they exceed the batch on their own. The
thread takes whatever waits as soon as it is free: under load batches fill themselves, and a lone
document is not kept waiting for company.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lesson15.embedding.base import Embedder, Vectors
from lesson15.errors import StepTimeoutError


class MicroBatcher:
    """Serves ``await embed(texts)`` for many documents at once, on one event loop.

    ``open_embedder`` is called in the embedding thread when the first text arrives, so that a
    batch with nothing to do never loads a model.
    """

    def __init__(
        self, open_embedder: Callable[[], Embedder], max_chunks: int = 64, timeout: float = 300.0
    ) -> None:
        self._open = open_embedder
        self._embedder: Embedder | None = None
        self._max_chunks = max_chunks
        self._timeout = timeout
        self._waiting: deque[tuple[list[str], asyncio.Future[Vectors]]] = deque()
        self._thread = ThreadPoolExecutor(1, "lesson15-embed")
        self._task: asyncio.Task[None] | None = None
        self.calls = 0

    async def embed(self, texts: list[str]) -> Vectors:
        """Vectors (len(texts) x dimensions) of one document's chunks.

        Raises:
            StepTimeoutError: the model took longer than the timeout.
            Exception: whatever the embedder raised, to every document of the micro-batch.
        """
        future: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        self._waiting.append((texts, future))
        if self._task is None:
            self._task = asyncio.create_task(self._serve())
        return await future

    async def _serve(self) -> None:
        try:
            await asyncio.sleep(0)  # documents that are ready in this turn of the loop join in
            while self._waiting:
                await self._serve_one(self._take())
        finally:
            self._task = None

    def _take(self) -> list[tuple[list[str], asyncio.Future[Vectors]]]:
        taken = [self._waiting.popleft()]
        chunks = len(taken[0][0])
        while self._waiting and chunks + len(self._waiting[0][0]) <= self._max_chunks:
            taken.append(self._waiting.popleft())
            chunks += len(taken[-1][0])
        return [(texts, future) for texts, future in taken if not future.done()]

    async def _serve_one(self, taken: list[tuple[list[str], asyncio.Future[Vectors]]]) -> None:
        if not taken:
            return
        self.calls += 1
        texts = [text for part, _ in taken for text in part]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                vectors = await loop.run_in_executor(self._thread, self._run, texts)
        except Exception as error:  # noqa: BLE001 - handed to the documents that wait for it
            if isinstance(error, TimeoutError) and not isinstance(error, StepTimeoutError):
                error = StepTimeoutError(
                    step="embed", seconds=self._timeout, setting="EMBED_TIMEOUT"
                )
                # The thread cannot be killed: it is left behind and a new one takes over.
                self._thread.shutdown(wait=False, cancel_futures=True)
                self._thread = ThreadPoolExecutor(1, "lesson15-embed")
            for _, future in taken:
                if not future.done():
                    future.set_exception(error)
            return
        start = 0
        for part, future in taken:
            if not future.done():
                future.set_result(vectors[start : start + len(part)])
            start += len(part)

    def _run(self, texts: list[str]) -> Vectors:
        if self._embedder is None:
            self._embedder = self._open()
        parts = [
            self._embedder.embed(texts[start : start + self._max_chunks])
            for start in range(0, len(texts), self._max_chunks)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    async def aclose(self) -> None:
        """Stop; documents still waiting are cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)
