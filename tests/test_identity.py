"""Which model, and which versions, made a batch: on record, and checked when it is opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lesson15.engine.searching
from lesson15 import Batch, BatchProcessor, CheckpointManager, Searcher, verify
from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.state_files import Manifest
from lesson15.documents import chunkers
from lesson15.embedding import HashingEmbedder, same_model
from lesson15.embedding.identity import PROBE, packed, probe_vector, unpacked
from lesson15.errors import (
    EmbedderAwayError,
    EmbedderRefusedError,
    OtherModelError,
    ServiceUnavailable,
    SettingsMismatchError,
)
from lesson15.events import Event, PartsChanged, ServiceBack, ServiceLost
from lesson15.host.child import EngineHost
from lesson15.host.protocol import Request
from lesson15.settings import Settings
from tests.embedding.server import EmbeddingServer, status

Make = Callable[..., BatchProcessor]


class Toy:
    """Hashing, turned by weights that ``seed`` makes; ``noise`` is what another machine adds."""

    name = "toy"
    dimensions = 64

    def __init__(self, seed: int = 0, noise: float = 0.0, folder: Path | None = None) -> None:
        chance = np.random.default_rng(seed)
        self._turn = np.linalg.qr(chance.normal(size=(64, 64)))[0]
        self._noise = noise * np.random.default_rng(7).normal(size=64)
        self.asked: list[list[str]] = []
        if folder is not None:
            self.folder = folder

    def embed(self, texts: Sequence[str]) -> Any:
        self.asked.append(list(texts))
        vectors = HashingEmbedder(64).embed(texts) @ self._turn + self._noise
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def manifest_of(state: Path) -> Manifest:
    return CheckpointManager(state).open("b").manifest


def everything(state: Path) -> dict[str, bytes]:
    names = ("journal.log", "segment.bin", "checkpoint.json", "manifest.json")
    return {name: (state / "b" / name).read_bytes() for name in names}


def listen(processor: BatchProcessor) -> list[Event]:
    events: list[Event] = []
    processor.listeners.append(events.append)
    return events


def test_a_probe_is_kept_whole() -> None:
    probe = probe_vector(Toy())
    assert unpacked(packed(probe)) == pytest.approx(probe, abs=1e-7)
    assert unpacked("no base64 of numbers") == []


async def test_the_manifest_says_which_model_it_was(docs: Path, state: Path, make: Make) -> None:
    toy = Toy()
    await make(embedder=toy).process_batch([docs], "b")
    manifest = manifest_of(state)
    assert manifest.identity is not None
    assert same_model(unpacked(manifest.identity.probe), probe_vector(Toy()))
    assert manifest.versions == {
        "lesson15": lesson15.__version__, "chunker default": chunkers.VERSION,
        **{key: version for key, version in manifest.versions.items() if "loader" in key},
    }  # fmt: skip
    assert toy.asked.count([PROBE]) == 1
    before = everything(state)
    idle = Toy(1)  # nothing is to be done, so no model is asked
    await make(embedder=idle).resume_batch("b")
    assert idle.asked == []
    assert everything(state) == before


async def test_other_weights_under_the_same_name(docs: Path, state: Path, make: Make) -> None:
    await make(embedder=Toy()).process_batch([docs], "b")
    before = everything(state)
    (docs / "new.txt").write_text("new words")
    other = Toy(1)
    with pytest.raises(OtherModelError, match=r"another model.*'toy'.*lesson15 resume b --reembed"):
        await make(embedder=other).resume_batch("b")
    assert other.asked == [[PROBE]]
    after = everything(state)
    assert after["manifest.json"] == before["manifest.json"]
    assert after["segment.bin"] == before["segment.bin"]
    assert CheckpointManager(state).open("b").state.failed_docs == 2  # as before: none is blamed
    with pytest.raises(OtherModelError):
        Searcher("b", state, other)
    with pytest.raises(OtherModelError), Batch.open(state, "b") as batch:
        batch.search("subject 111", embedder=other)
    with pytest.raises(OtherModelError, match="vectors of 256 numbers instead of 64"):
        Searcher("b", state, HashingEmbedder())
    report = await make(embedder=Toy(noise=1e-4)).resume_batch("b")  # another processor
    assert report["processed_docs"] == 11
    Searcher("b", state, Toy(noise=1e-4)).close()
    report = await make(embedder=other).resume_batch("b", reembed=True)
    assert (report["status"], report["processed_docs"]) == ("finished", 11)
    Searcher("b", state, other).close()
    with pytest.raises(OtherModelError):
        Searcher("b", state, Toy())


async def test_other_weights_without_a_probe(docs: Path, state: Path, make: Make) -> None:
    """As of a batch that an older lesson15 made: a chunk of it is embedded again."""
    await make(embedder=Toy()).process_batch([docs], "b")
    path = state / "b" / "manifest.json"
    forget(path)
    before = path.read_bytes()
    with pytest.raises(OtherModelError, match="a chunk of the batch"):
        Searcher("b", state, Toy(1))
    Searcher("b", state, Toy()).close()
    await make(embedder=Toy()).resume_batch("b")
    assert verify("b", state).is_clean
    assert path.read_bytes() == before  # nothing was to be done
    (docs / "new.txt").write_text("new words")
    with pytest.raises(OtherModelError, match="a chunk of the batch"):
        await make(embedder=Toy(1)).resume_batch("b")
    assert path.read_bytes() == before
    processor = make(embedder=Toy())
    events = listen(processor)
    assert (await processor.resume_batch("b"))["processed_docs"] == 11
    manifest = manifest_of(state)
    assert manifest.identity is not None
    assert manifest.versions
    assert not any(isinstance(event, PartsChanged) for event in events)


def forget(path: Path) -> None:
    from lesson15.checkpoint.state_files import encode

    content = json.loads(path.read_text())
    content["schema_version"] = 3
    for name in ("identity", "versions"):
        del content["manifest"][name]
    del content["checksum"]
    path.write_bytes(encode(content))
    assert json.loads(path.read_text())["schema_version"] == 3


async def test_weights_saved_again(tmp_path: Path, docs: Path, state: Path, make: Make) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    await make(embedder=Toy(folder=folder)).process_batch([docs], "b")
    first = manifest_of(state).identity
    assert first is not None
    assert first.sha256 is not None
    (folder / "model.safetensors").write_bytes(b"the same weights in another order")
    kinds = []
    for number in range(3):
        (docs / f"new{number}.txt").write_text(f"new words {number}")
        processor = make(embedder=Toy(folder=folder, noise=1e-5))
        events = listen(processor)
        await processor.resume_batch("b")
        kinds.append([event.changes for event in events if isinstance(event, PartsChanged)])
    second = manifest_of(state).identity
    assert second is not None
    assert second.sha256 != first.sha256
    assert second.probe == first.probe  # lest the model drift away in small steps
    assert kinds == [[{"sha256 of the model": [first.sha256, second.sha256]}], [], []]
    journal = list(CheckpointManager(state).open("b").events())
    assert sum(isinstance(event, PartsChanged) for event in journal) == 1


async def test_a_newer_version_is_told_once(
    docs: Path, state: Path, make: Make, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    await make().process_batch([docs], "b")
    monkeypatch.setattr(chunkers, "VERSION", "next")
    before = everything(state)
    await make().resume_batch("b")
    assert everything(state) == before
    told = []
    for number in range(2):
        (docs / f"new{number}.txt").write_text(f"new words {number}")
        caplog.clear()
        processor = make()
        events = listen(processor)
        report = await processor.resume_batch("b")
        assert report["status"] == "finished"
        told.append(
            ([event.changes for event in events if isinstance(event, PartsChanged)],
             "other versions" in caplog.text)
        )  # fmt: skip
    assert told == [([{"chunker default": ["1", "next"]}], True), ([], False)]
    assert manifest_of(state).versions["chunker default"] == "next"
    assert verify("b", state).is_clean


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chunk_chars", 300),
        ("chunk_overlap_chars", 7),
        ("embedder", "minilm"),
        ("store", "chroma"),
    ],
)
async def test_other_settings_are_an_error(
    docs: Path, state: Path, make: Make, name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make().process_batch([docs], "b")
    before = everything(state)
    monkeypatch.setenv(f"LESSON15_{name.upper()}", str(value))

    def processor() -> BatchProcessor:
        return make(settings=Settings(retry_delay=0), embedder=None)

    with pytest.raises(SettingsMismatchError, match=rf"{name}=.*lesson15 resume b --reembed"):
        await processor().resume_batch("b")
    with pytest.raises(SettingsMismatchError):
        await processor().retry_failed("b")
    assert everything(state) == before
    # To a service, they are what new batches are made with.
    request = Request("b", None, {"state_dir": str(state), name: value}, {}, interval=1)
    assert (await EngineHost(request, lambda messages: None).run()).state == "finished"
    monkeypatch.delenv(f"LESSON15_{name.upper()}")
    await processor().resume_batch("b")  # what nobody asked for is as the batch has it


async def test_a_service_that_is_away_is_not_another_model(
    docs: Path, state: Path, make: Make
) -> None:
    away = False
    server = EmbeddingServer(lambda texts: status(503) if away else None)
    settings = Settings(retry_delay=0.02, probe_interval=0.05, outage_patience=60)
    with server:
        name = server.name(dimensions=16)
        await make(embedder=name, settings=settings).process_batch([docs], "b")
        assert [asked.texts for asked in server.asked].count([PROBE]) == 1
        (docs / "new.txt").write_text("new words")
        away = True
        with pytest.raises(EmbedderAwayError, match="503"):
            Searcher("b", state)
        with Batch.open(state, "b") as batch:  # none of these asks the embedder
            asked = len(server.asked)
            batch.status()
            batch.failures()
            assert batch.verify().is_clean
            assert len(server.asked) == asked
        processor = make(embedder=None, settings=settings)  # by its default, minilm
        events = listen(processor)

        def come_back(event: Event) -> None:
            nonlocal away
            away = away and not isinstance(event, ServiceLost)

        processor.listeners.append(come_back)
        report = await processor.resume_batch("b")
        assert (report["processed_docs"], report["failed_docs"]) == (11, 2)
        told = [event for event in events if isinstance(event, ServiceLost | ServiceBack)]
        assert [type(event) for event in told] == [ServiceLost, ServiceBack]
        assert {event.service for event in told} == {name}  # type: ignore[union-attr]


class Picky(Toy):
    """Refuses the probe, and nothing else."""

    def embed(self, texts: Sequence[str]) -> Any:
        if PROBE in texts:
            raise ValueError("no Chinese here")
        return super().embed(texts)


async def test_an_embedder_that_refuses_the_probe(docs: Path, state: Path, make: Make) -> None:
    report = await make(embedder=Picky()).process_batch([docs], "b")
    assert report["processed_docs"] == 10
    assert manifest_of(state).identity is None
    (docs / "new.txt").write_text("new words")
    with pytest.raises(EmbedderRefusedError):  # now there would be something to mix up
        await make(embedder=Picky()).resume_batch("b")


class Shy(Toy):
    """Is away at its first call."""

    def embed(self, texts: Sequence[str]) -> Any:
        if not self.asked:
            self.asked.append(list(texts))
            raise ServiceUnavailable
        return super().embed(texts)


async def test_passing_trouble_at_the_probe(docs: Path, state: Path, make: Make) -> None:
    assert (await make(embedder=Shy()).process_batch([docs], "b"))["processed_docs"] == 10
    assert manifest_of(state).identity is not None
    Searcher("b", state, Shy()).close()


async def test_a_batch_keeps_its_encryption(
    docs: Path, state: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is written anew with the key of the batch, and not with a newer one."""
    await make(embedder=Toy()).process_batch([docs], "b")
    forget(state / "b" / "manifest.json")
    (docs / "new.txt").write_text("new words")
    keyed = make(embedder=Toy())
    keyed.checkpoint_manager = CheckpointManager(state, keyring=Keyring({"one": bytes(32)}))
    await keyed.resume_batch("b")
    assert manifest_of(state).identity is not None  # without any key
    assert verify("b", state).is_clean


def test_nothing_is_asked_where_nothing_is_embedded(
    docs: Path, state: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson15.run([docs], "b", state_dir=state, embedder="hashing", settings=Settings(retry_delay=0))

    def no_model(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(lesson15.engine.searching, "open_embedder", no_model)
    monkeypatch.setattr(lesson15.engine.assembly, "open_embedder", no_model)
    with Batch.open(state, "b") as batch:
        batch.status()
        assert len(batch.failures()) == 2
        assert batch.verify().is_clean
    shutil.rmtree(state / "b")
