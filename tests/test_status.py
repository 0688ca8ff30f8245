"""What interfaces show of a batch: its status, and its dead-letter list a page at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lesson15 import Batch, BatchProcessor, CheckpointManager
from lesson15.checkpoint.layout import batch_lock
from lesson15.checkpoint.state_files import Commit
from lesson15.errors import CheckpointWriteError
from lesson15.events import DocSettled, RunEnded, RunStarted
from lesson15.models import BatchState, BatchStatus, DocStatus


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time of the checkpoints to come."""

    def set_time(now: float) -> None:
        monkeypatch.setattr("lesson15.checkpoint.state_files.time.time", lambda: now)

    return set_time


def test_the_status_tells_killed_from_running(
    tmp_path: Path, seconds: Callable[[float], None]
) -> None:
    manager = CheckpointManager(tmp_path)
    state = BatchState("b", total_docs=40, processed_docs=8, failed_docs=2, start_time=100.0)
    seconds(150.0)
    manager.write(state, Commit())
    killed = manager.open("b")
    assert not killed.is_live
    assert (killed.status()["status"], killed.status()["eta"]) == ("interrupted", None)
    with batch_lock(manager.folder("b")):
        running = manager.open("b")
    assert running.is_live  # as it was when it was opened
    status = running.status()
    assert (status["status"], status["eta"]) == ("running", 150.0)  # 30 left at 5 s each
    assert (status["last_checkpoint"], status["failed_docs"]) == (150.0, 2)
    assert Batch.open(tmp_path, "b").status() == killed.status()


def test_the_status_of_what_is_done(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    state = BatchState("b", total_docs=2, processed_docs=2, status=BatchStatus.FINISHED)
    manager.write(state, Commit())
    done = manager.open("b").status()
    assert (done["status"], done["eta"]) == ("finished", 0.0)


async def test_the_dead_letter_list_by_pages(
    docs: Path, state: Path, make: Callable[..., BatchProcessor]
) -> None:
    await make().process_batch([], "empty")
    assert Batch.open(state, "empty").failures() == []
    await make().process_batch([docs], "b")
    batch = Batch.open(state, "b")
    names = [Path(failure.doc_id).name for failure in batch.failures(0, 10)]
    assert names == ["broken.json", "empty.txt"]
    assert [Path(f.doc_id).name for f in batch.failures(1, 1)] == ["empty.txt"]
    assert batch.failures() == batch.failures(0, 2)
    assert [Path(f.doc_id).name for f in batch.failures(limit=1)] == ["broken.json"]


async def test_a_batch_tells_what_it_holds(
    docs: Path, state: Path, make: Callable[..., BatchProcessor]
) -> None:
    report = await make().process_batch([docs], "b")
    with Batch.open(state, "b") as batch:
        assert (batch.batch_id, batch.state.chunks) == ("b", report["chunks"])
        assert (batch.manifest.embedder, batch.manifest.sources) == ("hashing", [str(docs)])
        assert batch.commit.journal_bytes == batch.folder.journal.stat().st_size
        assert (batch.cipher, batch.keys.current) == (None, None)
        events = list(batch.events())
        assert isinstance(events[0], RunStarted)
        verdicts = {e.doc_id: e.status for e in events if isinstance(e, DocSettled)}
        assert list(verdicts.values()).count(DocStatus.FAILED) == 2
        assert len(verdicts) == 12
        assert any(isinstance(event, RunEnded) for event in events)
        assert Path(batch.search("subject 111", 1)[0].doc_id).name == "d3.txt"
        assert batch.verify().is_clean
        forked = batch.fork(8, "fork")
        assert forked == Batch.open(state, "fork").state
        assert len(list(Batch.open(state, "fork").events())) == 8
    (docs / "d3.txt").write_text("now about volcanoes " * 40)
    await make().resume_batch("b")
    assert batch.verify().is_clean  # of the last commit, not of the one that it was opened at
    (hit,) = batch.search("volcanoes", 1)
    batch.close()
    assert (Path(hit.doc_id).name, "about volcanoes" in hit.text) == ("d3.txt", True)


def test_an_owner_that_cannot_be_written_is_no_hindrance(tmp_path: Path) -> None:
    """It serves a message alone: a full disk must not keep anybody from a batch."""
    folder = CheckpointManager(tmp_path).folder("b")
    folder.owner.mkdir(parents=True)
    with batch_lock(folder):
        assert folder.owner.is_dir()
    folder.owner.rmdir()
    with pytest.raises(FileNotFoundError, match="theirs"), batch_lock(folder):
        raise FileNotFoundError(2, "No such file", "theirs")


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    folder = CheckpointManager(tmp_path).folder("b")
    folder.lock.mkdir(parents=True)
    with pytest.raises(CheckpointWriteError, match="lock"), batch_lock(folder):
        pass
