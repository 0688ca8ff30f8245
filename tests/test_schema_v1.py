"""Batches that schema version 1 left: read, resumed, searched, verified, replayed and rekeyed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lesson15 import BatchProcessor, CheckpointManager, Recording, Searcher, verify
from lesson15.checkpoint.migrations import SCHEMA_VERSION
from lesson15.checkpoint.state_files import encode
from lesson15.engine.rekey import rekey
from tests.crash import oracle

Make = Callable[..., BatchProcessor]
V1 = Path(__file__).parent / "data" / "v1"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The old batches, moved as a user would move them: documents and base folder together."""
    shutil.copytree(V1, tmp_path / "course")
    for batch in ("finished", "killed"):
        path = tmp_path / "course" / batch / "manifest.json"
        content = json.loads(path.read_text())
        checksum = content.pop("checksum")
        assert json.loads(encode(content)) == {**content, "checksum": checksum}
        assert content["schema_version"] == 1
        content["manifest"]["base_dir"] = str(tmp_path / "course")
        path.write_bytes(encode(content))
    return tmp_path / "course"


def test_they_are_read_as_they_are(state: Path) -> None:
    manager = CheckpointManager(state)
    finished = manager.open("finished")
    assert (finished.state.processed_docs, finished.commit.generation) == (6, 0)
    assert manager.open("killed").manifest.embedder == "hashing"
    for batch, index in (("finished", "current"), ("killed", "stale")):
        result = verify(batch, state)
        assert result.is_clean, result.faults
        assert result.index == index
    searcher = Searcher("finished", state)
    assert searcher.search("violin varnish", 1)[0].doc_id == "docs/2-violin.txt"
    searcher.close()


@pytest.mark.parametrize("batch", ["finished", "killed"])
async def test_they_are_resumed(
    state: Path, make: Make, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(state)
    report = await make().resume_batch(batch)
    assert (report["status"], report["processed_docs"], report["failed_docs"]) == ("finished", 6, 1)
    result = verify(batch, state)
    assert result.is_clean, result.faults
    assert oracle.indexed(state, batch) == oracle.sequential(Path("docs"), "hashing")
    assert (
        json.loads((state / batch / "checkpoint.json").read_text())["schema_version"]
        == SCHEMA_VERSION
    )


async def test_they_are_replayed_and_forked(state: Path, make: Make) -> None:
    recording = Recording(state, "finished")
    assert recording.commits() == []
    end = recording.seek(len(recording))
    assert (end.processed_docs, end.failed_docs, end.status) == (6, 1, "finished")
    recording.fork(4, "fork")
    assert verify("fork", state).is_clean
    assert (await make().resume_batch("fork"))["processed_docs"] == 6


def test_they_are_encrypted(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LESSON15_ENCRYPTION_KEY", "ab" * 32)
    rekey("killed", state)
    assert verify("killed", state).is_clean
    assert b"violin" not in (state / "killed" / "generation-1" / "journal.log").read_bytes()
