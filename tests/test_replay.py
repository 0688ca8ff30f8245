"""Recordings: seek, scrub and fork, each against a fold or an oracle of its own."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lesson15 import BatchProcessor, CheckpointManager, DocStatus, Recording, replay, verify
from lesson15.checkpoint.journal import read_journal
from lesson15.checkpoint.reducer import fold
from lesson15.cli import app
from lesson15.engine import transcript
from lesson15.engine.work import DocumentOutcome, SourceDocument
from lesson15.errors import (
    BatchExistsError,
    BatchNotFoundError,
    CheckpointWriteError,
    CorruptCheckpointError,
    EventOutOfRangeError,
    InvalidBatchIdError,
)
from lesson15.events import decode, encode
from lesson15.faults import FaultPlan, FaultRule
from lesson15.models import BatchState, BatchStatus
from tests.crash import oracle
from tests.test_cli import lesson15

Make = Callable[..., BatchProcessor]


async def eventful(docs: Path, make: Make) -> None:
    """A batch that ran, was changed under its feet, and ran again."""
    await make().process_batch([docs], "b")
    (docs / "d1.txt").write_text("now about volcanoes " * 40)
    (docs / "d2.txt").unlink()
    os.utime(docs / "d3.txt")
    (docs / "empty.txt").write_text("no longer empty")
    await make().process_batch([docs], "b", resume=True)


def all_records(state: Path) -> list[dict[str, Any]]:
    return [record for _, record in read_journal(state / "b" / "journal.log")]


def naive_documents(records: list[dict[str, Any]]) -> dict[str, DocStatus]:
    documents: dict[str, DocStatus] = {}
    for record in records:
        if record["t"] == "doc":
            documents[record["id"]] = DocStatus(record["s"])
        elif record["t"] == "gone":
            del documents[record["id"]]
    return documents


@pytest.mark.parametrize("stride", [1000, 7])
async def test_seek_to_every_event(
    docs: Path, state: Path, make: Make, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "_STRIDE", stride)
    await eventful(docs, make)
    recording, records = Recording(state, "b"), all_records(state)
    assert len(recording) == len(records) > 30
    assert list(recording.events()) == [decode(record) for record in records]
    assert list(recording.events(5, 19)) == [decode(record) for record in records[5:19]]
    assert list(recording.events(8, 3)) == []
    steps = list(range(len(records) + 1))
    random.Random(1).shuffle(steps)
    for n in steps:
        expected = BatchState("b")
        for record in records[:n]:
            fold(expected, record)
        assert recording.seek(n) == expected
        assert recording.documents(n) == naive_documents(records[:n])
    saved = CheckpointManager(state).load_checkpoint("b")
    last = recording.seek(len(recording))
    last.last_checkpoint = saved.last_checkpoint
    assert last == saved
    assert recording.seek(len(recording) // 2).current_progress < 100


async def test_times_and_commits(docs: Path, state: Path, make: Make) -> None:
    await eventful(docs, make)
    recording, records = Recording(state, "b"), all_records(state)
    times = [recording.time(n) for n in range(len(recording) + 1)]
    assert times == sorted(times)
    assert recording.at(times[0] - 1) == 0
    assert recording.at(times[-1]) == len(recording)
    middle = recording.at(times[20])
    assert times[middle] == times[20]
    assert middle == len(records) or times[middle + 1] > times[20]
    commits = recording.commits()
    assert [n for n, _ in commits] == [n for n, r in enumerate(records, 1) if r["t"] == "commit"]
    assert all(time == times[n] for n, time in commits)


async def test_named_errors(docs: Path, state: Path, make: Make) -> None:
    await make().process_batch([docs], "b")
    with pytest.raises(BatchNotFoundError, match="'nope'"):
        Recording(state, "nope")
    recording = Recording(state, "b")
    count = len(recording)
    for ask in (
        lambda: recording.seek(count + 1),
        lambda: recording.documents(-1),
        lambda: recording.events(0, count + 1),
        lambda: recording.fork(count + 1, "c"),
    ):
        with pytest.raises(EventOutOfRangeError, match=f"from 0 to {count}"):
            ask()
    with pytest.raises(BatchExistsError, match="'b' already exists"):
        recording.fork(3, "b")
    with pytest.raises(InvalidBatchIdError):
        recording.fork(3, "../c")
    (state / "c").write_text("a file is in the way")
    with pytest.raises(CheckpointWriteError):
        recording.fork(3, "c")
    (state / "d" / "generation-1" / "journal.log").mkdir(parents=True)
    with pytest.raises(CheckpointWriteError):
        recording.fork(3, "d")
    (state / "e" / "generation-1" / "index.faiss").mkdir(parents=True)
    with pytest.raises(CheckpointWriteError, match="index"):
        recording.fork(count, "e")
    journal = state / "b" / "journal.log"
    journal.write_bytes(journal.read_bytes().replace(b'"done"', b'"dune"', 1))
    with pytest.raises(CorruptCheckpointError):
        Recording(state, "b")


async def test_an_empty_recording(state: Path) -> None:
    CheckpointManager(state).save_checkpoint(BatchState("b"))
    recording = Recording(state, "b")
    assert (len(recording), recording.time(0), recording.commits()) == (0, 0.0, [])
    assert recording.seek(0) == BatchState("b")


async def no_op(document: SourceDocument) -> DocumentOutcome:
    return DocumentOutcome()


async def test_fork_at_every_event_then_resume(state: Path, make: Make) -> None:
    """With work that is nothing, so that each event can be tried."""
    names = [f"d{n}" for n in range(25)]
    await make(work=no_op).process_batch(names, "b")
    recording = Recording(state, "b")
    journal = (state / "b" / "journal.log").read_bytes()
    for n in range(len(recording) + 1):
        forked = recording.fork(n, f"fork{n}")
        assert forked.processed_docs == recording.seek(n).processed_docs
        forked_journal = CheckpointManager(state).folder(f"fork{n}").journal
        assert journal.startswith(forked_journal.read_bytes())
        before = verify(f"fork{n}", state)
        assert before.is_clean, before.faults
        assert before.journal_records == n
        report = await make(work=no_op).process_batch(names, f"fork{n}", resume=True)
        assert (report["status"], report["processed_docs"]) == ("finished", 25)
        after = verify(f"fork{n}", state)
        assert after.is_clean, after.faults


@pytest.mark.parametrize("seed", range(4))
async def test_a_fork_resumes_to_what_the_oracle_says(
    docs: Path, state: Path, make: Make, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript, "_FLUSH_RECORDS", 5)
    await eventful(docs, make)
    recording = Recording(state, "b")
    segment = (state / "b" / "segment.bin").read_bytes()
    (docs / "d5.txt").write_text("and then about submarines " * 30)
    expected = oracle.sequential(docs, "hashing")
    for n in random.Random(seed).sample(range(len(recording) + 1), 5):
        batch = f"fork{n}"
        state_then = recording.fork(n, batch)
        forked_segment = CheckpointManager(state).folder(batch).segment
        assert segment.startswith(forked_segment.read_bytes())
        assert verify(batch, state).is_clean
        documents = recording.documents(n)
        assert Recording(state, batch).documents(n) == documents
        assert len(documents) == state_then.settled_docs
        report = await make().resume_batch(batch)
        assert report["status"] == "finished"
        result = verify(batch, state)
        assert result.is_clean, result.faults
        assert oracle.indexed(state, batch) == expected
    assert verify("b", state).is_clean  # the original is as it was


async def test_a_fork_of_the_whole_is_finished_and_searchable(
    docs: Path, state: Path, make: Make
) -> None:
    await make().process_batch([docs], "b")
    recording = Recording(state, "b")
    left = state / "c" / "generation-1"
    left.mkdir(parents=True)
    (left / "journal.log").write_text("left by a fork that was killed")
    assert CheckpointManager(state).list_checkpoints() == ["b"]
    assert recording.fork(len(recording), "c").status is BatchStatus.FINISHED
    assert verify("c", state).index == "current"
    assert oracle.indexed(state, "c") == oracle.indexed(state, "b")
    manager = CheckpointManager(state)
    ours, theirs = manager.load_commit("c"), manager.load_commit("b")
    assert ours == theirs.model_copy(update={"generation": 1})


def command(*arguments: object) -> str:
    """The output of a command that succeeds, run in this process."""
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "250"})
    assert done.exit_code == 0, done.output
    return done.stdout


async def test_the_command(docs: Path, state: Path, make: Make) -> None:
    (docs / "[bold]odd[nope].txt").write_text("brackets are no markup")
    await eventful(docs, make)
    at = ("--state-dir", state)
    whole = json.loads(command("replay", "b", *at, "--json"))
    records = all_records(state)
    assert [event.pop("event") for event in whole["events"]] == list(range(1, len(records) + 1))
    assert whole["events"] == [encode(decode(record)) for record in records]
    assert whole["total_events"] == whole["at"] == len(records)
    assert whole["state"]["status"] == "finished"
    assert sum(whole["kinds"].values()) == len(records)
    assert sum(worker["documents"] for worker in whole["workers"]) == whole["kinds"]["doc"]
    part = json.loads(command("replay", "b", *at, "--json", "--from", 3, "--to", 5, "--at", 9))
    assert [event["event"] for event in part["events"]] == [3, 4, 5]
    assert part["at"] == 9
    text = command("replay", "b", *at)
    for words in ("[bold]odd[nope].txt", "attempt 2, after parse error", "was done", "process",
                  "finished after", "worker   0", "11 of 12 documents done"):  # fmt: skip
        assert words in text
    forked = command("replay", "b", *at, "--at", 12, "--fork", "c", "--from", 1)
    assert f"lesson15 resume c --state-dir {state}" in forked
    assert "12 of " in forked
    assert lesson15("resume", "c", *at, "--json").returncode == 1  # broken.json is still broken
    assert lesson15("verify", "c", *at).returncode == 0
    unknown = lesson15("replay", "nope", *at)
    assert (unknown.returncode, "No batch 'nope'" in unknown.stderr) == (2, True)
    beyond = lesson15("replay", "b", *at, "--at", 999)
    assert (beyond.returncode, "no event 999" in beyond.stderr) == (2, True)


async def test_rare_events_in_the_timeline(state: Path, make: Make) -> None:
    tried: set[str] = set()

    async def work(document: SourceDocument) -> DocumentOutcome:
        if document.doc_id not in tried:
            tried.add(document.doc_id)
            raise MemoryError
        return DocumentOutcome()

    delay = FaultRule(point="result", kind="delay", documents="d2", seconds=0)
    processor = make(work=work, interval=2, faults=FaultPlan(rules=[delay]))
    await processor.process_batch(["d1", "d2", "d3"], "b")
    text = command("replay", "b", "--state-dir", state)
    for words in ("delay at result", "at most 2 in work: a document ran out of memory",
                  "attempt 2, after out of memory", "done, 0 chunks, 2 attempts"):  # fmt: skip
        assert words in text
    CheckpointManager(state).save_checkpoint(BatchState("empty"))
    assert "empty after 0 of 0 events" in command("replay", "empty", "--state-dir", state)


def test_the_command_loads_nothing_heavy(state: Path) -> None:
    CheckpointManager(state).save_checkpoint(BatchState("b"))
    code = (
        "import sys; from typer.testing import CliRunner; from lesson15.cli import app\n"
        f"done = CliRunner().invoke(app, ['replay', 'b', '--state-dir', {str(state)!r}])\n"
        "assert done.exit_code == 0, done.output\n"
        "heavy = {'torch', 'numpy', 'faiss', 'cryptography'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
