"""Batches that schema version 2 left: their chunks are strings, and no chunker or step is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lesson15 import BatchProcessor, CheckpointManager, Searcher, verify
from lesson15.checkpoint.migrations import SCHEMA_VERSION
from lesson15.errors import SettingsMismatchError
from tests.crash import oracle
from tests.old_batches import old_batches

Make = Callable[..., BatchProcessor]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The old batches beside their documents; the base folder of the sealed one cannot be moved."""
    course = tmp_path / "course"
    old_batches(2, course)
    monkeypatch.chdir(course)
    return course


@pytest.mark.parametrize("batch", ["finished", "killed", "sealed"])
def test_they_are_read_as_they_are(
    state: Path, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if batch == "sealed":
        monkeypatch.setenv("LESSON15_ENCRYPTION_KEY", "cd" * 32)
    result = verify(batch, state)
    assert result.is_clean, result.faults
    manifest = CheckpointManager(state).open(batch).manifest
    assert (manifest.chunker, manifest.steps) == ("default", ())
    searcher = Searcher(batch, state)
    (hit,) = searcher.search("sourdough bread", 1)
    searcher.close()
    assert hit.doc_id == "docs/1-sourdough.txt"
    assert (hit.page, hit.heading, hit.span, hit.meta) == (None, None, None, {})


@pytest.mark.parametrize("batch", ["finished", "killed"])
async def test_they_are_resumed(state: Path, make: Make, batch: str) -> None:
    with pytest.raises(SettingsMismatchError, match=r"steps=\(\) and cannot go on with"):
        await make(steps=[lambda chunks: chunks]).resume_batch(batch)
    (state / "docs" / "6-new.md").write_text("# Volcanoes\n\nLava is hot.\n")
    report = await make().resume_batch(batch)
    assert (report["status"], report["processed_docs"], report["failed_docs"]) == ("finished", 7, 1)
    result = verify(batch, state)
    assert result.is_clean, result.faults
    assert oracle.indexed(state, batch) == oracle.sequential(Path("docs"), "hashing")
    assert (
        json.loads((state / batch / "checkpoint.json").read_text())["schema_version"]
        == SCHEMA_VERSION
    )
    searcher = Searcher(batch, state)
    (new,) = searcher.search("lava is hot", 1)
    (old,) = searcher.search("violin varnish", 1)
    searcher.close()
    assert new.heading == ["Volcanoes"]
    assert old.meta == {}
