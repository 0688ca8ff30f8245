"""What callers hand over that is of the wrong type, or out of range, is a usage error by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lesson15
from lesson15 import Batch, BatchProcessor, CheckpointManager, Searcher
from lesson15.embedding import HashingEmbedder
from lesson15.errors import EmbeddingModelError, EventOutOfRangeError, UsageError
from lesson15.settings import Settings

BAD_PATHS = ["a\ud800.txt", b"docs", None, 7, ["a.txt", 3], (b"a.txt",), {"a": 1}.values()]


@pytest.mark.parametrize("paths", BAD_PATHS, ids=repr)
def test_what_is_no_path(paths: Any, state: Path) -> None:
    with pytest.raises(UsageError, match=r"str or os\.PathLike|no file name can have"):
        lesson15.run(paths, "b", state_dir=state, embedder="hashing")


def test_a_stream_of_paths_is_checked_as_it_comes(tmp_path: Path, state: Path) -> None:
    (tmp_path / "a.txt").write_text("a harbour")
    paths = iter([tmp_path / "a.txt", b"b.txt"])
    with pytest.raises(UsageError, match=r"b'b.txt' is not a path.*fsdecode"):
        lesson15.run(paths, "b", state_dir=state, embedder="hashing")  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_id", [b"b", 7, ["b"], "", "a/b"], ids=repr)
@pytest.mark.parametrize(
    "call", [Batch.open, lambda s, b: lesson15.verify(b, s), lambda s, b: Searcher(b, s)]
)
def test_what_is_no_batch_id(call: Callable[..., Any], batch_id: Any, state: Path) -> None:
    with pytest.raises(UsageError, match="is not a batch id"):
        call(state, batch_id)
    with pytest.raises(UsageError, match="is not a batch id"):
        lesson15.run(["a.txt"], batch_id or "a/", state_dir=state, embedder="hashing")


@pytest.mark.parametrize("state_dir", [b"state", 7, ["state"], "a\0b"], ids=repr)
@pytest.mark.parametrize(
    "call",
    [
        lambda s: Batch.open(s, "b"),
        lambda s: CheckpointManager(s),
        lambda s: BatchProcessor(state_dir=s, embedder="hashing"),
        lambda s: lesson15.verify("b", s),
    ],
)
def test_what_is_no_state_folder(call: Callable[[Any], Any], state_dir: Any) -> None:
    with pytest.raises(UsageError, match="is not a state folder"):
        call(state_dir)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"embedder": 7}, "7 is no embedder"),
        ({"embedder": b"hashing"}, "is no embedder"),
        ({"embedder": HashingEmbedder}, "it is a class"),
        ({"embedder": SimpleNamespace(name=None, dimensions=1, embed=len)}, "its name is no text"),
        ({"embedder": Path()}, "it lacks dimensions, embed"),
        ({"store": 7}, "7 is no store"),
        ({"chunker": b"default"}, "is no chunker"),
        ({"steps": 7}, "steps=7"),
        ({"steps": [7]}, "7 is no step"),
        ({"steps": ["absent"]}, "no step 'absent'"),
        ({"max_concurrent": 0}, "max_concurrent=0 is too small"),
        ({"max_concurrent": 10_001}, "max_concurrent=10001 is too large"),
        ({"max_concurrent": 2.5}, "max_concurrent=2.5 is not a whole number"),
        ({"max_concurrent": True}, "max_concurrent=True is not a whole number"),
        ({"checkpoint_interval": "10"}, "checkpoint_interval='10' is not a whole number"),
        ({"checkpoint_interval": -1}, "checkpoint_interval=-1 is too small"),
    ],
    ids=str,
)
def test_what_is_no_option(options: dict[str, Any], said: str, state: Path) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        BatchProcessor(**{"state_dir": state, "embedder": "hashing"} | options)
    assert "one of: ." not in str(caught.value)


def test_what_is_no_query_and_no_number_of_hits(tmp_path: Path, state: Path) -> None:
    (tmp_path / "a.txt").write_text("a harbour")
    lesson15.run([tmp_path / "a.txt"], "b", state_dir=state, embedder="hashing")
    with Batch.open(state, "b") as batch:
        for text in (None, b"harbour", ["harbour"], 7, "\ud800"):
            with pytest.raises(UsageError, match="the query"):
                batch.search(text)  # type: ignore[arg-type]
        for k in (0, -1, 1.5, True, "5", 10**20):
            with pytest.raises(UsageError, match=r"^k="):
                batch.search("harbour", k)  # type: ignore[arg-type]
        assert len(batch.search("harbour", 10**9)) == 1


def test_an_embedder_without_a_length(tmp_path: Path, state: Path) -> None:
    (tmp_path / "a.txt").write_text("a harbour")
    for dimensions in ("four", 0, None, 2.0):
        embedder = SimpleNamespace(name="toy", dimensions=dimensions, embed=len)
        with pytest.raises(UsageError, match="length of its vectors"):
            lesson15.run([tmp_path / "a.txt"], "b", state_dir=state, embedder=embedder)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1j, "0.1"])
def test_an_embedder_that_never_makes_vectors_ends_the_batch(
    tmp_path: Path, state: Path, value: object
) -> None:
    (tmp_path / "a.txt").write_text("a harbour")

    def embed(texts: list[str]) -> object:
        return np.full((len(texts), 4), value)

    embedder = SimpleNamespace(name="toy", dimensions=4, embed=embed)
    with pytest.raises(EmbeddingModelError, match="toy"):
        lesson15.run(
            [tmp_path / "a.txt"], "b", state_dir=state, embedder=embedder,
            settings=Settings(retry_delay=0),
        )  # fmt: skip


def test_a_manager_makes_its_folder_and_a_reader_does_not(tmp_path: Path) -> None:
    CheckpointManager(tmp_path / "new" / "state")
    assert (tmp_path / "new" / "state").is_dir()
    with pytest.raises(UsageError, match="No batch"):
        Batch.open(tmp_path / "absent", "b")
    assert not (tmp_path / "absent").exists()


def test_a_fork_at_an_event_that_is_not_there(tmp_path: Path, state: Path) -> None:
    (tmp_path / "a.txt").write_text("a harbour")
    lesson15.run([tmp_path / "a.txt"], "b", state_dir=state, embedder="hashing")
    with Batch.open(state, "b") as batch:
        last = sum(1 for _ in batch.events())
        for n in (-1, last + 1):
            with pytest.raises(EventOutOfRangeError):
                batch.fork(n, "c")
        assert not (state / "c").exists()
        assert batch.fork(last, "c").processed_docs == 1
