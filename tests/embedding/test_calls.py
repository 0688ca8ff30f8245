"""What becomes of documents whose embedder fails: in process, with embedders that fail on cue."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from lesson15 import RateLimited, ServiceUnavailable
from lesson15.embedding import HashingEmbedder
from lesson15.embedding.base import CallHooks, CallOptions
from lesson15.embedding.batcher import MicroBatcher
from lesson15.embedding.calls import PROBE_TEXT
from lesson15.embedding.rates import Rates, TokenBucket, estimate_tokens
from lesson15.errors import (
    EmbedderRefusedError,
    EmbeddingModelError,
    RefusedTextError,
    RepeatedCallError,
    ServiceOutageError,
    StepTimeoutError,
)

QUICK = CallOptions(retry_delay=0, probe_interval=0.05)


class StatusError(Exception):
    """As the clients of services raise them."""

    def __init__(self, status_code: int) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code


class Failing(HashingEmbedder):
    """Calls ``fail(texts)`` first, which may raise; keeps what it was asked."""

    def __init__(self, fail: Callable[[Sequence[str]], object], **traits: object) -> None:
        super().__init__(16)
        self.fail = fail
        self.asked: list[list[str]] = []
        for name, value in traits.items():
            setattr(self, name, value)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.append(list(texts))
        self.fail(texts)
        return super().embed(texts)


def in_turn(*errors: Exception | None) -> Callable[[Sequence[str]], None]:
    """Raises ``errors`` one after the other, then nothing."""
    left = list(errors)

    def fail(texts: Sequence[str]) -> None:
        error = left.pop(0) if left else None
        if error is not None:
            raise error

    return fail


def at(bad: str, error: Callable[[], Exception]) -> Callable[[Sequence[str]], None]:
    """Raises ``error()`` whenever the text ``bad`` is in a call."""

    def fail(texts: Sequence[str]) -> None:
        if bad in texts:
            raise error()

    return fail


async def embed_all(
    embedder: HashingEmbedder,
    documents: Sequence[list[str]],
    options: CallOptions = QUICK,
    hooks: CallHooks | None = None,
    max_chunks: int = 8,
) -> list[np.ndarray | BaseException]:
    batcher = MicroBatcher(lambda: embedder, max_chunks, options=options, hooks=hooks)
    try:
        return await asyncio.gather(*map(batcher.embed, documents), return_exceptions=True)
    finally:
        await batcher.aclose()


def check(found: Sequence[object], documents: Sequence[list[str]]) -> None:
    for vectors, texts in zip(found, documents, strict=True):
        assert isinstance(vectors, np.ndarray), vectors
        assert np.array_equal(vectors, HashingEmbedder(16).embed(texts))


DOCUMENTS = [[f"document {n} part {i}" for i in range(n % 3 + 1)] for n in range(8)]
LONE = [["only one"]]


# --- what the embedder says of itself -----------------------------------------------------------


async def test_threads_and_batch_size_are_the_embedders_own() -> None:
    """Sixteen calls at once are sixteen, whatever the cores; the barrier opens for no fewer."""
    together = threading.Barrier(16, timeout=60)
    embedder = Failing(lambda texts: together.wait(), threads=16, batch_size=3)
    documents = [[f"{n} {i}" for i in range(3)] for n in range(32)]
    check(await embed_all(embedder, documents), documents)
    assert [len(texts) for texts in embedder.asked] == [3] * 32


@pytest.mark.parametrize("traits", [{"threads": 0}, {"batch_size": "many"}, {"threads": 1.5}])
async def test_a_trait_that_cannot_be_is_named(traits: dict[str, object]) -> None:
    (error,) = await embed_all(Failing(in_turn(), **traits), LONE)
    assert isinstance(error, EmbeddingModelError)
    assert next(iter(traits)) in str(error)


# --- the call is made again, and nothing else ---------------------------------------------------


@pytest.mark.parametrize(
    "errors",
    [
        [TimeoutError()] * 3,
        [StatusError(503), StatusError(429), StatusError(500)],
        [RateLimited(retry_after=0.01)] * 20,
        [ServiceUnavailable(retry_after=0.01)] * 20,
        [ConnectionResetError(), ConnectionRefusedError()],
        [MemoryError(), MemoryError()],
        [ValueError("a hiccup")],
    ],
)
async def test_a_passing_error_costs_no_document(errors: list[Exception]) -> None:
    embedder = Failing(in_turn(*errors))
    check(await embed_all(embedder, DOCUMENTS), DOCUMENTS)


async def test_a_call_waits_as_it_was_told() -> None:
    times: list[float] = []
    fail = in_turn(RateLimited(retry_after=0.5), None, RateLimited(retry_after=99))
    embedder = Failing(lambda texts: (times.append(time.monotonic()), fail(texts)))
    options = CallOptions(retry_delay=0, max_retry_after=0.7)
    documents = [["a"], ["b"]]
    check(await embed_all(embedder, documents, options, max_chunks=1), documents)
    assert times[1] - times[0] >= 0.5
    assert times[3] - times[2] >= 0.7  # not 99
    assert embedder.asked == [["a"], ["a"], ["b"], ["b"]]


async def test_now_is_a_time_to_come_back_too() -> None:
    """Twenty waits that double each time would take days."""
    embedder = Failing(in_turn(*[RateLimited(retry_after=0)] * 20))
    started = time.monotonic()
    check(await embed_all(embedder, DOCUMENTS, CallOptions()), DOCUMENTS)
    assert time.monotonic() - started < 120


async def test_one_refusal_holds_every_call_back() -> None:
    """Sixteen calls at once are refused together; none comes back before the time."""
    lock, refused, early = threading.Lock(), [0.0], []

    def fail(texts: Sequence[str]) -> None:
        with lock:
            now = time.monotonic()
            if not refused[0]:
                refused[0] = now
            if now - refused[0] < 0.5:
                if now - refused[0] > 0.25:
                    early.append(now - refused[0])
                raise RateLimited(retry_after=0.5 - (now - refused[0]))

    documents = [[f"{n}"] for n in range(64)]
    embedder = Failing(fail, threads=16, batch_size=1)
    check(await embed_all(embedder, documents), documents)
    assert early == []
    assert len(embedder.asked) <= 64 + 16


async def test_retries_end_in_an_error_that_is_not_retried_again() -> None:
    embedder = Failing(at("only one", lambda: StatusError(500)))
    (error,) = await embed_all(embedder, LONE)
    assert isinstance(error, RepeatedCallError)
    assert error.attempts == 4
    assert embedder.asked == [["only one"]] * 4 + [[PROBE_TEXT]]


# --- texts that are to blame --------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 422, 403, 404])
async def test_a_refused_text_fails_alone(status: int) -> None:
    embedder = Failing(at("document 4 part 1", lambda: StatusError(status)))
    found = await embed_all(embedder, DOCUMENTS, max_chunks=64)
    error = found.pop(4)
    assert isinstance(error, RefusedTextError)
    assert f"HTTP {status}" in str(error)
    check(found, [*DOCUMENTS[:4], *DOCUMENTS[5:]])
    answered = [text for texts in embedder.asked for text in texts if "document" in text]
    assert embedder.asked.count(["document 4 part 1"]) == 1  # nothing is gained by asking again
    assert len(answered) < 5 * sum(map(len, DOCUMENTS))


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404])
async def test_an_embedder_that_refuses_everything_ends_the_batch(status: int) -> None:
    def fail(texts: Sequence[str]) -> None:
        raise StatusError(status)

    found = await embed_all(Failing(fail), DOCUMENTS)
    assert {type(error) for error in found} == {EmbedderRefusedError}


async def test_a_text_that_always_breaks_the_service_fails_alone() -> None:
    embedder = Failing(at("document 2 part 0", lambda: StatusError(500)))
    found = await embed_all(embedder, DOCUMENTS, max_chunks=64)
    assert isinstance(found.pop(2), RepeatedCallError)
    check(found, [*DOCUMENTS[:2], *DOCUMENTS[3:]])


async def test_a_call_that_is_too_large_for_memory_or_quota_is_halved() -> None:
    pressed: list[Exception] = []

    def too_many(error: Callable[[], Exception]) -> Callable[[Sequence[str]], None]:
        def fail(texts: Sequence[str]) -> None:
            if len(texts) > 2:
                raise error()

        return fail

    hooks = CallHooks(on_pressure=pressed.append)
    for error in (MemoryError, lambda: RateLimited(0.001), lambda: RuntimeError("out of memory")):
        found = await embed_all(Failing(too_many(error)), DOCUMENTS, hooks=hooks)
        check(found, DOCUMENTS)
    assert len(pressed) >= 2


async def test_a_hanging_text_fails_alone_and_its_neighbours_do_not() -> None:
    release = threading.Event()

    def fail(texts: Sequence[str]) -> None:
        if "document 5 part 0" in texts:
            release.wait(60)

    options = CallOptions(timeout=1.5, retry_delay=0)
    found = await embed_all(Failing(fail), DOCUMENTS, options, max_chunks=64)
    release.set()
    assert isinstance(found.pop(5), StepTimeoutError)
    check(found, [*DOCUMENTS[:5], *DOCUMENTS[6:]])


async def test_a_file_that_the_embedder_misses_does_not_skip_documents() -> None:
    embedder = Failing(in_turn(*[FileNotFoundError("tokenizer.json")] * 99))
    (error,) = await embed_all(embedder, LONE)
    assert isinstance(error, EmbeddingModelError)


async def test_a_text_that_is_always_limited_fails_alone_in_the_end() -> None:
    embedder = Failing(at("document 1 part 0", lambda: RateLimited(0.01)))
    options = CallOptions(retry_delay=0, outage_patience=2)
    found = await embed_all(embedder, DOCUMENTS, options)
    assert isinstance(found.pop(1), RepeatedCallError)
    check(found, [*DOCUMENTS[:1], *DOCUMENTS[2:]])


# --- outages ------------------------------------------------------------------------------------


class Outage:
    """A service that is away for ``seconds`` from the first call on, and what was told of it."""

    def __init__(self, seconds: float, error: Callable[[], Exception]) -> None:
        self.seconds = seconds
        self.error = error
        self.began = 0.0
        self.told: list[object] = []
        self.hooks = CallHooks(on_outage=self.told.append, on_recovery=self.told.append)

    def __call__(self, texts: Sequence[str]) -> None:
        self.began = self.began or time.monotonic()
        if time.monotonic() - self.began < self.seconds:
            raise self.error()


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize(
    "error", [ConnectionRefusedError, lambda: StatusError(503), lambda: StatusError(500),
              TimeoutError, RateLimited],
)  # fmt: skip
async def test_an_outage_costs_no_document(threads: int, error: Callable[[], Exception]) -> None:
    outage = Outage(1.0, error)
    embedder = Failing(outage, threads=threads, batch_size=1)
    check(await embed_all(embedder, DOCUMENTS, hooks=outage.hooks), DOCUMENTS)
    if error is RateLimited:  # it is up, and wants fewer requests
        assert outage.told == []
        return
    first, seconds = outage.told
    assert type(first) is type(error())
    assert isinstance(seconds, float)
    assert seconds >= 0.9
    texts = [text for texts in embedder.asked for text in texts]
    assert len(embedder.asked) < 120  # probes wait, and go out one at a time
    assert all(texts.count(text) <= 6 for document in DOCUMENTS for text in document)


async def test_an_outage_that_lasts_ends_the_batch() -> None:
    outage = Outage(9999, ConnectionRefusedError)
    options = CallOptions(retry_delay=0, probe_interval=0.05, outage_patience=0.5)
    embedder = Failing(outage, threads=4, batch_size=1)
    found = await embed_all(embedder, DOCUMENTS, options, outage.hooks)
    assert {type(error) for error in found} == {ServiceOutageError}
    assert "OUTAGE_PATIENCE" in str(found[0])
    assert len(outage.told) == 1


async def test_without_patience_nothing_waits() -> None:
    outage = Outage(9999, ConnectionRefusedError)
    options = CallOptions(retry_delay=0, outage_patience=0)
    found = await embed_all(Failing(outage), DOCUMENTS, options)
    assert {type(error) for error in found} == {ServiceOutageError}


async def test_a_service_that_comes_back_with_another_key_ends_the_batch() -> None:
    errors = [ConnectionRefusedError()] * 6 + [StatusError(401)] * 99
    found = await embed_all(Failing(in_turn(*errors)), DOCUMENTS)
    assert {type(error) for error in found} == {EmbedderRefusedError}


async def test_a_batcher_can_be_closed_during_an_outage() -> None:
    outage = Outage(9999, ConnectionRefusedError)
    began = asyncio.Event()
    hooks = CallHooks(on_outage=lambda error: began.set())
    batcher = MicroBatcher(lambda: Failing(outage), options=QUICK, hooks=hooks)
    waiting = asyncio.create_task(batcher.embed(["a"]))
    await asyncio.wait_for(began.wait(), 60)
    waiting.cancel()
    await batcher.aclose()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_the_callers_hook_says_what_passes() -> None:
    class OddError(Exception):
        """Known to nobody else."""

    embedder = Failing(in_turn(*[OddError()] * 3))
    hooks = CallHooks(is_transient=lambda error: isinstance(error, OddError) or None)
    check(await embed_all(embedder, LONE, hooks=hooks), LONE)


# --- opening ------------------------------------------------------------------------------------


async def test_opening_is_retried_if_the_trouble_passes() -> None:
    trouble = in_turn(ConnectionRefusedError(), TimeoutError())

    def open_embedder() -> HashingEmbedder:
        trouble([])
        return HashingEmbedder(16)

    batcher = MicroBatcher(open_embedder, options=QUICK)
    assert (await batcher.embed(["a"])).shape == (1, 16)
    await batcher.aclose()


# --- rates --------------------------------------------------------------------------------------


def test_a_bucket_lets_through_what_it_says() -> None:
    bucket = TokenBucket(per_minute=600)  # ten a second
    now = 100.0
    starts = [now + bucket.reserve(1, now) for _ in range(51)]
    assert starts[0] == starts[9] == now  # one second's worth at once
    assert starts[50] - starts[0] == pytest.approx(4.0, abs=0.11)
    later = starts[50] + 3600  # an hour's pause does not buy an hour's burst
    assert sum(bucket.reserve(1, later) == 0 for _ in range(50)) <= 12


def test_a_call_larger_than_the_bucket_is_let_through_and_paid_for() -> None:
    bucket = TokenBucket(per_minute=60)
    assert bucket.reserve(1000, 0.0) == 0
    assert bucket.reserve(1, 0.0) == pytest.approx(999, abs=2)


async def test_requests_keep_the_rate() -> None:
    times: list[float] = []
    embedder = Failing(
        lambda texts: times.append(time.monotonic()),
        threads=8, batch_size=1, requests_per_minute=60 * 20,
    )  # fmt: skip
    documents = [[f"{n}"] for n in range(50)]
    check(await embed_all(embedder, documents), documents)
    assert times[-1] - times[0] >= (50 - 20) / 20 * 0.9
    in_a_second = max(sum(start <= t < start + 1 for t in times) for start in times)
    assert in_a_second <= 20 * 2  # the rate and the burst


async def test_tokens_keep_the_rate() -> None:
    embedder = Failing(lambda texts: None, batch_size=1, tokens_per_minute=60 * 100)
    documents = [["x" * 397 + f"{n:03}"] for n in range(3)]  # 101 tokens each
    started = time.monotonic()
    check(await embed_all(embedder, documents), documents)
    assert time.monotonic() - started >= 0.9
    embedder = Failing(
        lambda texts: None, batch_size=1, tokens_per_minute=60 * 100, count_tokens=lambda text: 150
    )
    started = time.monotonic()
    check(await embed_all(embedder, documents), documents)
    assert time.monotonic() - started >= 1.9


async def test_without_limits_nothing_waits() -> None:
    started = time.monotonic()
    for _ in range(1000):
        await Rates().admit(["x"])
    assert time.monotonic() - started < 5


def test_tokens_are_estimated_in_any_script() -> None:
    assert estimate_tokens("word " * 100) == pytest.approx(125, rel=0.1)
    assert estimate_tokens("汉字" * 50) == pytest.approx(100, rel=0.1)


# --- a call that never returns ------------------------------------------------------------------

PROGRAM = """
import asyncio, json, sys, time
from lesson15 import BatchProcessor
from lesson15.embedding import HashingEmbedder
from lesson15.settings import Settings

class Hanging(HashingEmbedder):
    def embed(self, texts):
        while any("hang" in text for text in texts):
            time.sleep(3600)
        return super().embed(texts)

settings = Settings(embed_timeout=2, retry_delay=0, max_retries=0)
processor = BatchProcessor(4, state_dir=sys.argv[2], embedder=Hanging(), settings=settings)
report = asyncio.run(processor.process_batch([sys.argv[1]], "b"))
print(json.dumps({k: report[k] for k in ("status", "processed_docs", "failures")}))
"""


def test_a_process_ends_although_a_call_never_returns(tmp_path: Path) -> None:
    import json

    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(6):
        (docs / f"d{number}.txt").write_text("hang" if number == 3 else f"document {number}")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(docs), str(tmp_path / "state")],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    report = json.loads(done.stdout)
    assert (report["status"], report["processed_docs"]) == ("finished", 5)
    (failure,) = report["failures"]
    assert failure["doc_id"].endswith("d3.txt")
    assert "LESSON15_EMBED_TIMEOUT" in failure["error"]


@pytest.mark.parametrize("wrong", [np.zeros(16), [[0.0] * 16, [0.0]], None, np.zeros((1, 16))])
async def test_an_answer_of_another_shape_is_no_answer(wrong: object) -> None:
    """Without a check such a document would wait for ever."""

    class Wrong(HashingEmbedder):
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            return super().embed(texts) if len(texts) == 1 else wrong  # type: ignore[return-value]

    async with asyncio.timeout(60):
        check(await embed_all(Wrong(16), DOCUMENTS), DOCUMENTS)


async def test_vectors_of_another_length_are_no_answer() -> None:
    class Wrong(HashingEmbedder):
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            return super().embed(texts)[:, : 16 if len(texts) == 1 else 15]

    documents = [["one"], *DOCUMENTS]
    async with asyncio.timeout(60):
        check(await embed_all(Wrong(16), documents, max_chunks=3), documents)
