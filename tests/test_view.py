"""What interfaces show of a batch: its view, and its dead-letter list a page at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lesson15 import BatchProcessor, CheckpointManager
from lesson15.checkpoint.layout import batch_lock
from lesson15.checkpoint.view import view_of
from lesson15.engine.dead_letters import failures_of
from lesson15.errors import CheckpointWriteError
from lesson15.models import BatchState, BatchStatus


def test_a_view_tells_killed_from_running(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    state = BatchState("b", total_docs=40, processed_docs=8, failed_docs=2, start_time=100.0)
    manager.save_checkpoint(state)
    state.last_checkpoint = 150.0
    killed = view_of(manager, state)
    assert (killed["status"], killed["eta"]) == ("interrupted", None)
    with batch_lock(manager.folder("b")):
        running = view_of(manager, state)
    assert (running["status"], running["eta"]) == ("running", 150.0)  # 30 left at 5 s each


def test_a_view_of_what_is_done(tmp_path: Path) -> None:
    state = BatchState("b", total_docs=2, processed_docs=2, status=BatchStatus.FINISHED)
    done = view_of(CheckpointManager(tmp_path), state)
    assert (done["status"], done["eta"]) == ("finished", 0.0)


async def test_the_dead_letter_list_by_pages(
    docs: Path, state: Path, make: Callable[..., BatchProcessor]
) -> None:
    manager = CheckpointManager(state)
    assert failures_of(manager, "b", 0, 10) == []
    await make().process_batch([docs], "b")
    names = [Path(failure.doc_id).name for failure in failures_of(manager, "b", 0, 10)]
    assert names == ["broken.json", "empty.txt"]
    assert [Path(f.doc_id).name for f in failures_of(manager, "b", 1, 1)] == ["empty.txt"]


def test_an_owner_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = CheckpointManager(tmp_path).folder("b")
    folder.owner.mkdir(parents=True)
    with pytest.raises(CheckpointWriteError, match=r"owner\.json"), batch_lock(folder):
        pass
    folder.owner.rmdir()
    with pytest.raises(FileNotFoundError, match="theirs"), batch_lock(folder):
        raise FileNotFoundError(2, "No such file", "theirs")
