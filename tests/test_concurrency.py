from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lesson15.embedding import HashingEmbedder, dimensions_of, open_embedder
from lesson15.embedding.base import CallOptions
from lesson15.embedding.batcher import MicroBatcher
from lesson15.engine.concurrency import AdaptiveLimit, PressureMonitor, free_memory_fraction
from lesson15.errors import (
    EmbedderRefusedError,
    EmbeddingModelError,
    StepTimeoutError,
    UnknownNameError,
)


def test_limit_halves_and_climbs_back() -> None:
    limit = AdaptiveLimit(8)
    limit.succeed()
    assert limit.current == 8
    for expected in (4, 2, 1, 1):
        limit.lower("test")
        assert limit.current == expected
    limit.succeed()
    assert limit.current == 2
    for _ in range(2 + 3 + 4 + 5 + 6 + 7 + 20):
        limit.succeed()
    assert limit.current == 8


async def test_workers_over_the_limit_wait() -> None:
    limit = AdaptiveLimit(2)
    limit.lower("test")
    await limit.admit(0)
    waiting = asyncio.create_task(limit.admit(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    limit.succeed()
    await asyncio.wait_for(waiting, 1)


def test_monitor_judges_memory_and_lag() -> None:
    limit = AdaptiveLimit(8)
    monitor = PressureMonitor(limit, 0.05, 0.5)
    monitor.look(0.1, 0.5)
    assert limit.current == 8
    monitor.look(0.1, 0.01)
    assert limit.current == 4
    monitor.look(0.9, 0.5)
    assert limit.current == 4
    monitor.look(0.9, 0.5)
    assert limit.current == 2


async def test_monitor_sees_a_blocked_loop() -> None:
    limit = AdaptiveLimit(8)
    watch = asyncio.create_task(PressureMonitor(limit, 0.0, 0.05, period=0.01).watch())
    for _ in range(3):
        await asyncio.sleep(0.001)
        time.sleep(0.2)  # noqa: ASYNC251 - what the monitor is there to see
    await asyncio.sleep(0.05)
    watch.cancel()
    assert limit.current < 8


def test_free_memory_of_a_container(tmp_path: Path) -> None:
    machine = free_memory_fraction(tmp_path)
    assert 0 < machine < 1
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("990\n")
    assert free_memory_fraction(tmp_path) == pytest.approx(0.01)
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory_fraction(tmp_path) == pytest.approx(machine, abs=0.2)


class SlowEmbedder(HashingEmbedder):
    def __init__(self, seconds: float = 0.02) -> None:
        super().__init__(16)
        self.seconds = seconds
        self.calls: list[int] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.calls.append(len(texts))
        time.sleep(self.seconds)
        return super().embed(texts)


async def test_documents_share_micro_batches() -> None:
    embedder = SlowEmbedder()
    batcher = MicroBatcher(lambda: embedder, max_chunks=8)
    texts = [[f"text {n} {i}" for i in range(n % 4 + 1)] for n in range(12)]
    found = await asyncio.gather(*(batcher.embed(part) for part in texts))
    for part, vectors in zip(texts, found, strict=True):
        assert np.array_equal(vectors, HashingEmbedder(16).embed(part))
    assert max(embedder.calls) <= 8
    assert len(embedder.calls) < 12
    await batcher.aclose()


async def test_a_document_larger_than_a_batch() -> None:
    embedder = SlowEmbedder(0)
    batcher = MicroBatcher(lambda: embedder, max_chunks=4)
    assert (await batcher.embed([str(n) for n in range(10)])).shape == (10, 16)
    assert embedder.calls == [4, 4, 2]
    await batcher.aclose()


async def test_chunks_of_like_length_go_together_and_none_starves() -> None:
    embedder = SlowEmbedder(0.001)
    seen: list[list[int]] = []
    embed = embedder.embed
    embedder.embed = lambda texts: seen.append([len(t) for t in texts]) or embed(texts)  # type: ignore[method-assign, func-returns-value]
    batcher = MicroBatcher(lambda: embedder, max_chunks=3)
    texts = [["x" * size] for size in (50, 10, 90, 51, 11, 91, 52, 12, 92)]
    await asyncio.gather(*(batcher.embed(part) for part in texts))
    assert [sorted(sizes) for sizes in seen] == [[50, 51, 52], [10, 11, 12], [90, 91, 92]]
    await batcher.aclose()


async def test_a_parallel_embedder_gets_its_threads() -> None:
    together = threading.Barrier(2, timeout=5)
    begun: list[int] = []

    class Parallel(SlowEmbedder):
        threads = 2

        def begin_thread(self) -> None:
            begun.append(threading.get_ident())

        def embed(self, texts: Sequence[str]) -> np.ndarray:
            if texts != ["opens the embedder"]:
                together.wait()  # returns only if two threads are here at once
            return super().embed(texts)

    batcher = MicroBatcher(Parallel, max_chunks=1)
    await batcher.embed(["opens the embedder"])
    await asyncio.gather(*(batcher.embed([str(n)]) for n in range(6)))
    assert 2 <= len(begun) == len(set(begun))
    await batcher.aclose()


async def test_a_missing_vector_is_noticed() -> None:
    class Forgetful(HashingEmbedder):
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            return super().embed(texts)[1:]

    batcher = MicroBatcher(Forgetful, options=CallOptions(retry_delay=0))
    with pytest.raises(EmbedderRefusedError, match="0 vectors of 1 texts"):
        await batcher.embed(["a", "b"])
    await batcher.aclose()


async def test_embedder_errors_reach_every_document() -> None:
    def broken() -> HashingEmbedder:
        raise RuntimeError("no model")

    batcher = MicroBatcher(broken)
    found = await asyncio.gather(batcher.embed(["a"]), batcher.embed(["b"]), return_exceptions=True)
    assert [type(error) for error in found] == [EmbeddingModelError] * 2
    assert all("no model" in str(error) for error in found)
    await batcher.aclose()


async def test_a_hung_embedder_times_out_and_is_replaced() -> None:
    embedder = SlowEmbedder(0.3)
    batcher = MicroBatcher(lambda: embedder, timeout=0.05)
    with pytest.raises(StepTimeoutError, match="LESSON15_EMBED_TIMEOUT"):
        await batcher.embed(["a"])
    embedder.seconds = 0
    assert (await batcher.embed(["b"])).shape == (1, 16)
    await batcher.aclose()


async def test_cancelled_documents_are_not_embedded() -> None:
    embedder = SlowEmbedder(0.05)
    batcher = MicroBatcher(lambda: embedder, max_chunks=1)
    first = asyncio.create_task(batcher.embed(["a"]))
    second = asyncio.create_task(batcher.embed(["b"]))
    await asyncio.sleep(0.01)
    second.cancel()
    await first
    await asyncio.sleep(0.01)
    assert embedder.calls == [1]
    third = asyncio.create_task(batcher.embed(["c"]))
    fourth = asyncio.create_task(batcher.embed(["d"]))
    await asyncio.sleep(0.01)
    await batcher.aclose()
    for task in (third, fourth):
        task.cancel()
    await asyncio.gather(third, fourth, return_exceptions=True)


def test_embedders_by_name() -> None:
    assert dimensions_of("minilm") == 384
    vectors = open_embedder("hashing").embed(["the same words", "words the same", "", "其他文字"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.array_equal(vectors[0], vectors[1])
    with pytest.raises(UnknownNameError, match="one of: minilm, hashing"):
        open_embedder("gpt")
