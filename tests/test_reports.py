"""Reports say what a run did, and nothing that is not known."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lesson15 import Batch, BatchProcessor, CheckpointManager, ProgressInfo, ProgressTracker
from lesson15.checkpoint.layout import batch_lock
from lesson15.checkpoint.state_files import Commit
from lesson15.cli.reports import describe
from lesson15.engine.work import DocumentOutcome, SourceDocument
from lesson15.models import BatchState, DocStatus
from tests import command_line

Make = Callable[..., BatchProcessor]
lesson15 = partial(command_line.lesson15, COLUMNS="200")


def counts(report: dict[str, Any]) -> dict[str, int]:
    return {name: value for name, value in report["run"].items() if value and name != "seconds"}


async def test_what_a_run_did(docs: Path, state: Path, make: Make) -> None:
    (docs / "x.png").touch()
    report = await make().process_batch([docs, docs / "absent.txt", docs / "d1.txt"], "b")
    found = {"new": 10, "failed": 2, "skipped": 1, "unsupported": {".png": 1}}
    assert counts(report) == found
    assert report["run"]["seconds"] > 0
    (docs / "d1.txt").write_text("now about volcanoes")
    (docs / "d2.txt").unlink()
    os.utime(docs / "d3.txt")
    (docs / "new.txt").write_text("brand new words")
    (docs / "empty.txt").write_text("no longer empty")
    report = await make().process_batch([docs], "b", resume=True)
    found = {"new": 2, "updated": 1, "dropped": 1, "unchanged": 10, "unsupported": {".png": 1}}
    assert counts(report) == found
    (docs / "broken.json").write_text("[still broken")
    assert counts(await make().retry_failed("b")) == {"failed": 1, "skipped": 1, "unchanged": 11}
    report = await make().process_batch([docs], "b", resume=True)
    assert counts(report) == {"unchanged": 13, "unsupported": {".png": 1}}
    assert report["run"]["seconds"] < report["seconds"] + 60  # of this run, and of all runs


def test_in_one_line() -> None:
    run = dict.fromkeys(
        ("new", "updated", "unchanged", "dropped", "failed", "skipped", "hidden"), 0
    )
    assert describe({**run, "unchanged": 12, "unsupported": {}, "seconds": 0.25}) == (
        "nothing changed, 12 documents as before; 0.2 s"
    )
    assert describe(
        {**run, "new": 3, "hidden": 1, "unsupported": {"": 2, ".png": 12}, "seconds": 1}
    ) == (
        "3 new, 1 hidden (could not be read and were kept as they were); "
        "not supported: 12 .png, 2 without suffix; 1.0 s"
    )


def test_on_the_command_line(docs: Path, state: Path) -> None:
    at = ("--state-dir", state)
    done = lesson15(
        "run", docs, docs / "empty.txt", "--batch-id", "b", "--embedder", "hashing", *at
    )
    assert "This run: 10 new, 2 failed; " in done.stdout
    done = lesson15("resume", "b", *at)
    assert "This run: nothing changed, 12 documents as before; " in done.stdout
    done = lesson15("failures", "b", *at)
    assert done.returncode == 0
    assert "the file is empty" in done.stdout
    assert "Mend or replace the file, then run `lesson15 resume b`" in done.stdout
    assert "b: 2 documents failed or were skipped." in done.stdout
    content = json.loads(lesson15("failures", "b", *at, "--json").stdout)
    assert (content["batch_id"], content["total_count"]) == ("b", 2)
    keys = {"doc_id", "status", "error", "error_type", "attempts", "remedy"}
    assert [set(entry) for entry in content["failures"]] == [keys] * 2
    assert lesson15("failures", "nope", *at).returncode == 2
    shown = lesson15("run", "--help").stdout
    for text in ("10 by default", "PATH...", "--files-from", "FILE|-", "--no-gitignore"):
        assert text in shown


async def test_what_to_do_about_a_dead_letter(state: Path, make: Make) -> None:
    async def work(document: SourceDocument) -> DocumentOutcome:
        raise {"slow": TimeoutError, "gone": FileNotFoundError, "odd": ValueError}[document.doc_id]

    await make(work=work).process_batch(["slow", "gone", "odd"], "b")
    with Batch.open(state, "b") as batch:
        letters = {letter.doc_id: letter for letter in batch.dead_letters()}
    assert letters["gone"].status is DocStatus.SKIPPED
    for name, said in (("slow", "retry-failed b"), ("gone", "Put the file"), ("odd", "Mend")):
        assert said in letters[name].remedy


async def test_the_total_is_unknown_until_it_is_counted(
    docs: Path, state: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lesson15.engine.feed import SourcePaths

    may_count = threading.Event()
    count = SourcePaths.count

    def slowly(source: SourcePaths) -> int:
        may_count.wait(60)
        return count(source)

    monkeypatch.setattr(SourcePaths, "count", slowly)
    seen: list[ProgressInfo] = []
    processor = make(interval=1)
    processor.progress_callbacks.append(seen.append)
    at_work: list[dict[str, Any]] = []

    def look(info: ProgressInfo) -> None:
        if info.completed == 5:
            at_work.append(CheckpointManager(state).open("b").status())
            shown.append(lesson15("status", "b", "--state-dir", state).stdout)
            shown.append(lesson15("list", "--state-dir", state).stdout)
            may_count.set()

    shown: list[str] = []
    processor.progress_callbacks.append(look)
    report = await asyncio.wait_for(processor.process_batch([docs], "b"), 200)
    assert (seen[0].total, seen[0].progress_percent, seen[0].eta) == (0, 0, None)
    assert at_work[0]["total_docs"] == at_work[0]["progress_percent"] == 0
    assert (at_work[0]["processed_docs"] > 0, at_work[0]["eta"]) == (True, None)
    assert "documents are still being counted; " in shown[0]
    assert "counting" in shown[1]
    assert report["total_docs"] == 12
    assert CheckpointManager(state).open("b").status()["progress_percent"] == 100


def test_the_eta_of_an_uncounted_batch(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    manager.write(BatchState("b", processed_docs=8, start_time=100.0), Commit())
    with batch_lock(manager.folder("b")):
        assert manager.open("b").status()["eta"] is None


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_rate_and_eta_in_the_first_seconds() -> None:
    clock = Clock()
    tracker = ProgressTracker(1000, "b", clock)
    clock.now += 0.001
    await tracker.update_progress()
    assert (tracker.rate, tracker.eta_seconds) == (0, None)  # not 1000 a second
    clock.now += 0.999
    await tracker.update_progress()
    assert tracker.rate == pytest.approx(2)
    unknown = ProgressTracker(0, "b", clock)
    assert (unknown.eta_seconds, unknown.get_eta()) == (None, "unknown")


async def test_the_rate_of_slow_documents() -> None:
    clock = Clock()
    tracker = ProgressTracker(100, "b", clock)
    for _ in range(3):
        clock.now += 60
        await tracker.update_progress()
        assert tracker.rate == pytest.approx(1 / 60)
