"""The embedder openai:URL#MODEL against a real HTTP server that can be told to fail."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lesson15 import BatchProcessor, CheckpointManager, Searcher, verify
from lesson15.embedding import (
    HashingEmbedder,
    check_embedder,
    dimensions_of,
    identity_of,
    open_embedder,
    probe_vector,
    same_model,
)
from lesson15.embedding.base import CallHooks, CallOptions
from lesson15.embedding.batcher import MicroBatcher
from lesson15.errors import (
    EmbedderNameError,
    EmbedderRefusedError,
    EmbeddingModelError,
    InvalidAnswerError,
    RefusedTextError,
    RepeatedCallError,
    UsageError,
)
from lesson15.recovery import classify
from lesson15.settings import Settings
from tests.embedding.server import EmbeddingServer, Trouble, status
from tests.failing_calls import closed_port

QUICK = CallOptions(retry_delay=0, probe_interval=0.05)
TEXTS = [f"text number {number}" for number in range(7)]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "LESSON15_EMBEDDER_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as server:
        yield server


def once(trouble: Trouble, times: int = 1) -> Callable[[Sequence[str]], Trouble | None]:
    left = [trouble] * times
    return lambda texts: left.pop() if left else None


async def embed(name: str, texts: list[str], options: CallOptions = QUICK) -> Any:
    batcher = MicroBatcher(lambda: open_embedder(name), options=options)
    try:
        return await batcher.embed(texts)
    finally:
        await batcher.aclose()


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("openai:", "does not begin with http"),
        ("openai:ftp://host/v1#m", "does not begin with http"),
        ("openai:https://#m", "does not begin with http"),
        ("openai:https://host:99999/v1#m", "not valid"),
        ("openai:https://host/v1", "names no model"),
        ("openai:https://host/v1?dimensions=0#m", "dimensions=0"),
        ("openai:https://host/v1?dimensions=many#m", "dimensions=many"),
        ("openai:https://host/v1?encoding=xml#m", "encoding=xml"),
        ("openai:https://host/v1?timeout=nan#m", "timeout=nan"),
        ("openai:https://me:hunter2@host/v1#m", "ends up on record"),
        ("openai:https://host/v1?api_key=hunter2#m", "api_key"),
        ("openai:https://host/v1?access_token=hunter2#m", "access_token"),
    ],
)
def test_a_name_that_cannot_be_used_is_explained(name: str, part: str) -> None:
    for call in (check_embedder, dimensions_of, open_embedder):
        with pytest.raises(EmbedderNameError) as caught:
            call(name)
        assert part in str(caught.value)
        assert "OPENAI_API_KEY" in str(caught.value)
        assert "hunter2" not in str(caught.value)
        assert isinstance(caught.value, UsageError)


def test_what_the_service_is_asked(server: EmbeddingServer) -> None:
    embedder = open_embedder(server.name("some/model:v1", dimensions=16, **{"api-version": 7}))
    embedder.embed(["a", "b"])
    (asked,) = server.asked
    assert asked.path == "/v1/embeddings?api-version=7"
    assert asked.body == {
        "model": "some/model:v1", "input": ["a", "b"], "encoding_format": "float", "dimensions": 16,
    }  # fmt: skip
    assert "Authorization" not in asked.headers


def test_a_name_says_how_the_service_wants_to_be_called(server: EmbeddingServer) -> None:
    name = server.name(batch_size=9, threads=3, requests_per_minute=60, tokens_per_minute=1e6)
    embedder: Any = open_embedder(name)
    assert (embedder.batch_size, embedder.threads) == (9, 3)
    assert (embedder.requests_per_minute, embedder.tokens_per_minute) == (60, 1e6)
    assert embedder.name == name


# --- good answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("kind", ["", "shuffled"])
def test_vectors_are_right_whatever_their_form(
    server: EmbeddingServer, encoding: str, kind: str
) -> None:
    server.trouble = lambda texts: Trouble(kind) if kind else None
    vectors = open_embedder(server.name(encoding=encoding)).embed(TEXTS)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, HashingEmbedder(16).embed(TEXTS), atol=1e-6)


def test_the_length_of_a_vector_is_found_by_one_call(server: EmbeddingServer) -> None:
    assert dimensions_of(server.name()) == 16
    assert dimensions_of(server.name()) == 16
    assert len(server.asked) == 1
    assert dimensions_of(server.name(dimensions=99)) == 99
    assert open_embedder(server.name("other"), 16).dimensions == 16
    assert len(server.asked) == 1
    assert open_embedder(server.name("other")).dimensions == 16
    assert len(server.asked) == 2


def test_connections_are_kept(server: EmbeddingServer) -> None:
    embedder = open_embedder(server.name(dimensions=16))
    for _ in range(20):
        embedder.embed(["a"])
    assert server.connections == 1
    del embedder
    gc.collect()


def test_it_is_known_by_a_probe(server: EmbeddingServer) -> None:
    embedder = open_embedder(server.name(dimensions=16))
    assert identity_of(embedder) == {"name": embedder.name, "dimensions": 16}
    assert same_model(probe_vector(embedder), probe_vector(HashingEmbedder(16)))


# --- the key ----------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "LESSON15_EMBEDDER_API_KEY"])
async def test_the_key_is_sent_and_never_shown(
    variable: str, monkeypatch: pytest.MonkeyPatch, docs: Path, state: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    secret = "sk-" + "q7x" * 9
    monkeypatch.setenv(variable, secret)
    with EmbeddingServer(key=secret) as server:
        processor = BatchProcessor(2, state_dir=state, embedder=server.name())
        report = await processor.process_batch([docs], "b")
        assert report["processed_docs"] == 10
        monkeypatch.setenv(variable, secret + "wrong")
        with pytest.raises(EmbedderRefusedError) as caught:
            await embed(server.name(dimensions=16), TEXTS)
    assert "HTTP 401" in str(caught.value)
    everything = caplog.text + str(caught.value)
    for path in state.rglob("*"):
        if path.is_file():
            everything += path.read_bytes().decode("latin-1")
    assert secret not in everything
    assert CheckpointManager(state).open("b").manifest.embedder == server.name()


async def test_the_own_variable_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    monkeypatch.setenv("LESSON15_EMBEDDER_API_KEY", "ours")
    with EmbeddingServer(key="ours") as server:
        assert (await embed(server.name(), TEXTS)).shape == (7, 16)


# --- trouble ----------------------------------------------------------------------------------

PASSING = [
    status(429, 0.05),
    status(429),
    status(503, 0.05),
    status(500),
    status(502),
    status(408),
    Trouble("cut"),
    Trouble("partial"),
    Trouble("short"),
    Trouble("nan"),
    Trouble("zero"),
    Trouble("garbage"),
    Trouble("doubled"),
    Trouble("index of truth"),
    Trouble("index of fractions"),
    Trouble("truths"),
    Trouble("texts"),
    Trouble("huge"),
    Trouble("slow", seconds=1.5),
    Trouble("hang"),
    Trouble("drip"),
]


@pytest.mark.parametrize("trouble", PASSING, ids=lambda t: f"{t.kind}{t.status or ''}")
async def test_trouble_that_passes_costs_nothing(server: EmbeddingServer, trouble: Trouble) -> None:
    server.trouble = once(trouble, times=2)
    vectors = await embed(server.name(dimensions=16, timeout=1), TEXTS)
    assert np.allclose(vectors, HashingEmbedder(16).embed(TEXTS), atol=1e-6)
    assert len(server.asked) == 3
    assert all(asked.texts == TEXTS for asked in server.asked)  # the call, and nothing else


@pytest.mark.parametrize("kind", ["partial", "short", "nan", "zero", "garbage", "doubled"])
def test_an_answer_that_cannot_be_is_not_believed(server: EmbeddingServer, kind: str) -> None:
    server.trouble = lambda texts: Trouble(kind)
    with pytest.raises(InvalidAnswerError) as caught:
        open_embedder(server.name(dimensions=16)).embed(TEXTS)
    assert classify(caught.value).is_transient


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [(status(400, message="has a bad token"), RefusedTextError),
     (status(413), RefusedTextError), (status(422), RefusedTextError),
     (Trouble("nan"), RepeatedCallError), (status(500), RepeatedCallError)],
)  # fmt: skip
async def test_a_bad_text_fails_alone(
    server: EmbeddingServer, trouble: Trouble, expected: type[Exception]
) -> None:
    server.trouble = lambda texts: trouble if TEXTS[3] in texts else None
    batcher = MicroBatcher(lambda: open_embedder(server.name(dimensions=16)), options=QUICK)
    found = await asyncio.gather(*(batcher.embed([text]) for text in TEXTS), return_exceptions=True)
    await batcher.aclose()
    error = found.pop(3)
    assert isinstance(error, expected)
    assert trouble.kind != "status" or trouble.message in str(error)
    assert all(isinstance(vectors, np.ndarray) for vectors in found)


@pytest.mark.parametrize("kind", ["partial", "short", "nan", "zero", "garbage", "status"])
async def test_a_service_that_fails_at_several_texts_is_asked_for_one(
    server: EmbeddingServer, kind: str
) -> None:
    """One text at a time is right, so no outage is at hand, however many calls fail at once."""
    trouble = status(500) if kind == "status" else Trouble(kind)
    texts = [f"text number {number}" for number in range(64)]
    bad = texts[13]
    server.trouble = lambda asked: trouble if len(asked) > 1 or bad in asked else None
    outages: list[Exception] = []
    batcher = MicroBatcher(
        lambda: open_embedder(server.name(dimensions=16, threads=8, batch_size=8)),
        options=QUICK,
        hooks=CallHooks(on_outage=outages.append),
    )
    async with asyncio.timeout(120):
        found = await asyncio.gather(
            *(batcher.embed([text]) for text in texts), return_exceptions=True
        )
    await batcher.aclose()
    assert isinstance(found.pop(13), RepeatedCallError)  # alone, and not its neighbours
    assert np.allclose(
        np.concatenate(found), HashingEmbedder(16).embed([t for t in texts if t != bad]), atol=1e-6
    )
    if kind != "status":  # an answer, however wrong, says that the service is there
        assert not outages


@pytest.mark.parametrize(
    ("trouble", "part"),
    [
        (status(401, message="bad key"), "bad key"),
        (status(404, message="no such model"), "no such model"),
        (status(429, code="insufficient_quota", message="you have run dry"), "run dry"),
        (Trouble("short"), "length 15, not 16"),
        (Trouble("garbage"), "that is not JSON"),
        (status(301), "HTTP 301"),
    ],
)
async def test_a_service_that_never_works_ends_the_batch(
    server: EmbeddingServer, trouble: Trouble, part: str
) -> None:
    server.trouble = lambda texts: trouble
    with pytest.raises(EmbeddingModelError) as caught:
        await embed(server.name(dimensions=16), TEXTS)
    assert part in str(caught.value)
    assert server.name(dimensions=16) in str(caught.value)


def test_a_service_that_is_not_there_is_named_at_once() -> None:
    name = f"openai:http://127.0.0.1:{closed_port()}/v1#m"
    with pytest.raises(EmbedderNameError) as caught:
        dimensions_of(name)
    assert name in str(caught.value)
    assert "?dimensions=N in the URL" in str(caught.value)


def test_finding_the_length_waits_for_a_service_that_is_busy(server: EmbeddingServer) -> None:
    server.trouble = once(status(429, 0.05), times=2)
    assert dimensions_of(server.name("busy")) == 16


def test_an_error_of_httpx_is_what_comes_out(server: EmbeddingServer) -> None:
    server.trouble = lambda texts: status(429, 3)
    with pytest.raises(httpx.HTTPStatusError) as caught:
        open_embedder(server.name(dimensions=16)).embed(TEXTS)
    assert classify(caught.value).retry_after == 3


# --- batches ----------------------------------------------------------------------------------


def write_documents(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"d{number:03}.txt").write_text(f"Document {number} is about {number * 37}.")
    return folder


async def test_300_documents_through_a_storm_and_an_outage(tmp_path: Path, state: Path) -> None:
    """A service that allows 60 requests a second, is away for two seconds in the middle, and then
    refuses half of what it is asked for two more."""
    docs = write_documents(tmp_path / "docs", 300)
    began: list[float] = []
    draws = iter(range(10**9))
    lock = threading.Lock()

    def trouble(texts: Sequence[str]) -> Trouble | None:
        with lock:
            if len(server.answered) >= 60 and not began:
                began.append(time.monotonic())
            since = time.monotonic() - began[0] if began else -1
            if 0 <= since < 2:
                return status(503)
            if 2 <= since < 4 and next(draws) % 2:
                return status(429, 0.05)
            return None

    settings = Settings(retry_delay=0.05, probe_interval=0.25)
    with EmbeddingServer(trouble, requests_per_second=60) as server:
        name = server.name(dimensions=16, batch_size=2, threads=8)
        processor = BatchProcessor(16, state_dir=state, embedder=name, settings=settings)
        report = await processor.process_batch([docs], "b")
        assert (report["processed_docs"], report["failures"]) == (300, [])
        answered = [text for text in server.answered if text.startswith("Document")]
        assert len(set(answered)) == 300
        assert len(answered) - 300 <= 3  # repeated needlessly: at most 1 %
        during = [asked for asked in server.asked if 0 <= asked.at - began[0] < 2]
        assert len(during) <= 40  # it is left alone while it is away
        hits = Searcher("b", state, open_embedder(name)).search("Document 7 is about 259.", k=1)
        assert hits[0].doc_id.endswith("d007.txt")
    assert verify("b", state).is_clean


async def test_the_rate_that_was_agreed_is_kept(tmp_path: Path, state: Path) -> None:
    docs = write_documents(tmp_path / "docs", 60)
    with EmbeddingServer(requests_per_second=40) as server:
        name = server.name(dimensions=16, batch_size=1, threads=4, requests_per_minute=30 * 60)
        processor = BatchProcessor(16, state_dir=state, embedder=name)
        report = await processor.process_batch([docs], "b")
        times = [asked.at for asked in server.asked]
    assert report["processed_docs"] == 60
    busiest = max(sum(start <= at < start + 1 for at in times) for start in times)
    assert busiest <= 30 * 2 + 1  # the rate and a burst of one second's worth
    assert times[-1] - times[0] >= (60 - 31) / 30 * 0.9


async def test_a_limit_that_nobody_told_is_learnt(tmp_path: Path, state: Path) -> None:
    docs = write_documents(tmp_path / "docs", 300)
    with EmbeddingServer(requests_per_second=40) as server:
        name = server.name(dimensions=16, batch_size=1, threads=8)
        report = await BatchProcessor(16, 100, state_dir=state, embedder=name).process_batch(
            [docs], "b"
        )
    assert (report["processed_docs"], report["failures"]) == (300, [])
    refused = sum(asked.status == 429 for asked in server.asked)
    assert refused <= 300  # without learning, eight threads are refused four times a text
    assert len(server.answered) == 300


async def test_a_batch_goes_on_where_an_outage_ended_it(tmp_path: Path, state: Path) -> None:
    docs = write_documents(tmp_path / "docs", 30)
    away = threading.Event()
    server = EmbeddingServer(lambda texts: status(503) if away.is_set() else None)
    settings = Settings(retry_delay=0.02, probe_interval=0.1, outage_patience=0.5)
    with server:
        name = server.name(dimensions=16, batch_size=1, threads=1)
        first = BatchProcessor(1, 1, state_dir=state, embedder=name, settings=settings)
        first.listeners.append(lambda record: len(server.answered) >= 10 and away.set())
        with pytest.raises(Exception, match="has been away") as caught:
            await first.process_batch([docs], "b")
        assert classify(caught.value).name == "system error"
        assert "lesson15 resume" in str(caught.value)
        away.clear()
        report = await BatchProcessor(1, 1, state_dir=state, settings=settings).resume_batch("b")
    assert (report["processed_docs"], report["failures"]) == (30, [])
    assert sorted(set(server.answered)) == sorted(path.read_text() for path in docs.iterdir())
    assert len(server.answered) <= 31
