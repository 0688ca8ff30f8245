"""Batches that schema version 3 left: their manifests say neither model nor versions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lesson15 import BatchProcessor, CheckpointManager, Searcher, verify
from lesson15.checkpoint.migrations import SCHEMA_VERSION
from lesson15.embedding import HashingEmbedder
from lesson15.errors import OtherModelError
from lesson15.settings import Settings
from tests.crash import oracle
from tests.old_batches import old_batches

Make = Callable[..., BatchProcessor]


class Other(HashingEmbedder):
    """Other weights under the same name."""

    def embed(self, texts):  # type: ignore[no-untyped-def]
        return super().embed([text[::-1] for text in texts])


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The old batches beside their documents; the base folder of the sealed one cannot be moved."""
    course = tmp_path / "course"
    old_batches(3, course)
    monkeypatch.chdir(course)
    return course


@pytest.mark.parametrize("batch", ["finished", "killed", "sealed"])
def test_they_are_read_as_they_are(
    state: Path, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if batch == "sealed":
        monkeypatch.setenv("LESSON15_ENCRYPTION_KEY", "cd" * 32)
    before = (state / batch / "manifest.json").read_bytes()
    result = verify(batch, state)
    assert result.is_clean, result.faults
    manifest = CheckpointManager(state).open(batch).manifest
    assert (manifest.identity, manifest.versions) == (None, {})
    searcher = Searcher(batch, state)
    (hit,) = searcher.search("sourdough bread", 1)
    searcher.close()
    assert hit.doc_id == "docs/1-sourdough.txt"
    with pytest.raises(OtherModelError, match="a chunk of the batch"):
        Searcher(batch, state, Other())
    assert (state / batch / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("batch", ["finished", "killed"])
async def test_they_are_resumed(state: Path, make: Make, batch: str) -> None:
    (state / "docs" / "6-new.md").write_text("# Volcanoes\n\nLava is hot.\n")
    with pytest.raises(OtherModelError):
        await make(embedder=Other()).resume_batch(batch)
    report = await make().resume_batch(batch)
    assert (report["status"], report["processed_docs"], report["failed_docs"]) == ("finished", 7, 1)
    result = verify(batch, state)
    assert result.is_clean, result.faults
    assert oracle.indexed(state, batch) == oracle.sequential(Path("docs"), "hashing")
    content = json.loads((state / batch / "manifest.json").read_text())
    assert content["schema_version"] == SCHEMA_VERSION
    assert content["manifest"]["identity"] is not None
    assert content["manifest"]["versions"]["chunker default"] == "1"


async def test_one_with_nothing_to_do_is_left_alone(state: Path, make: Make) -> None:
    before = (state / "finished" / "manifest.json").read_bytes()
    await make().resume_batch("finished")
    assert (state / "finished" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("batch", ["finished", "killed"])
async def test_they_are_done_again(state: Path, make: Make, batch: str) -> None:
    settings = Settings(retry_delay=0, chunk_chars=100, chunk_overlap_chars=10)
    report = await make(settings=settings).resume_batch(batch, reembed=True)
    assert (report["status"], report["processed_docs"]) == ("finished", 6)
    assert verify(batch, state).is_clean
