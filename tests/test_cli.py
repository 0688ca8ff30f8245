"""The command line as a user runs it, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lesson15 import CheckpointManager
from lesson15.checkpoint.stored_batch import StoredBatch
from tests import command_line
from tests.command_line import ROOT, lesson15


def as_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(done.stdout)  # one object and nothing else
    return content


@pytest.fixture
def batch(docs: Path, state: Path) -> Path:
    done = lesson15("run", docs, "--batch-id", "b", "--state-dir", state, "--embedder", "hashing",
                    "--max-concurrent", 3, "--checkpoint-interval", 4, "--json")  # fmt: skip
    assert done.returncode == 1, done.stderr
    report = as_json(done)
    assert set(report) >= {
        "batch_id", "total_docs", "processed_docs", "failed_docs", "skipped_docs", "chunks",
        "seconds", "failures",
    }  # fmt: skip
    assert (report["batch_id"], report["total_docs"], report["failed_docs"]) == ("b", 12, 2)
    assert all(set(failure) == {"doc_id", "error", "attempts"} for failure in report["failures"])
    assert "document set aside" in done.stderr
    return state


def test_values_that_are_out_of_range(docs: Path, tmp_path: Path) -> None:
    at = ("--state-dir", tmp_path / "state")
    huge = 10**20
    for option in ("--chunk-chars", "--chunk-overlap-chars", "--max-concurrent",
                   "--checkpoint-interval"):  # fmt: skip
        done = lesson15("run", docs, *at, option, huge)
        assert (done.returncode, done.stdout) == (2, ""), option
        assert "Traceback" not in done.stderr
    done = command_line.lesson15("status", "b", *at, LESSON15_STEPS="clean")
    assert done.returncode == 2
    assert "steps" in done.stderr
    assert "Write it as JSON" in done.stderr
    assert not (tmp_path / "state").exists()


def test_all_commands_on_one_batch(batch: Path, docs: Path) -> None:
    at = ("--state-dir", batch)
    status = as_json(lesson15("status", "b", *at, "--json"))
    assert (status["status"], status["progress_percent"], status["eta"]) == ("finished", 100.0, 0.0)
    listed = as_json(lesson15("list", *at, "--json"))
    assert [entry["batch_id"] for entry in listed["batches"]] == ["b"]
    found = as_json(lesson15("search", "subject 111", "-k", 2, "--batch-id", "b", *at, "--json"))
    keys = {"doc_id", "chunk", "score", "text", "page", "heading", "span", "meta"}
    assert [set(hit) for hit in found["hits"]] == [keys] * 2
    assert found["hits"][0]["doc_id"].endswith("d3.txt")
    verified = lesson15("verify", "b", *at, "--json")
    assert verified.returncode == 0
    assert as_json(verified)["ok"] is True
    (docs / "empty.txt").write_text("filled")
    (docs / "broken.json").write_text("[1]")
    retried = lesson15("retry-failed", "b", *at, "--json")
    assert retried.returncode == 0, retried.stderr
    assert as_json(retried)["processed_docs"] == 12
    resumed = lesson15("resume", "b", *at, "--json")
    assert resumed.returncode == 0
    assert as_json(resumed)["processed_docs"] == 12


def test_plain_output(batch: Path) -> None:
    at = ("--state-dir", batch)
    assert "b: finished, 100.0 % of 12 documents" in lesson15("status", "b", *at).stdout
    assert "finished" in lesson15("list", *at).stdout
    assert "d3.txt" in lesson15("search", "subject 111", "--batch-id", "b", *at).stdout
    assert "clean" in lesson15("verify", "b", *at).stdout
    assert "2 failed" in lesson15("resume", "b", *at).stdout


def test_verify_reports_a_fault(batch: Path) -> None:
    journal = batch / "b" / "journal.log"
    journal.write_bytes(journal.read_bytes().replace(b'"done"', b'"dune"', 1))
    done = lesson15("verify", "b", "--state-dir", batch)
    assert done.returncode == 1
    assert "fails its checksum" in done.stdout


def test_a_damaged_checkpoint_stops_nothing_else(batch: Path) -> None:
    (batch / "b" / "checkpoint.json").write_text("{")
    assert "damaged" in lesson15("list", "--state-dir", batch).stdout
    done = lesson15("resume", "b", "--state-dir", batch)
    assert done.returncode == 3
    assert "damaged" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "no/such/path"], "no/such/path: no such file"),
        (["run"], "Missing argument"),
        (["run", "data", "--batch-id", "../x"], "not a batch id"),
        (["run", "data", "--max-concurrent", "0"], "--max-concurrent"),
        (["run", "data", "--embedder", "gpt"], "gpt"),
        (["resume", "nope"], "No batch 'nope'"),
        (["status", "nope"], "No batch 'nope'"),
        (["search", "x", "--batch-id", "nope"], "No batch 'nope'"),
        (["retry-failed", "nope"], "No batch 'nope'"),
        (["verify", "nope"], "No batch 'nope'"),
    ],
)
def test_bad_usage_is_named(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = lesson15(*arguments, "--state-dir", tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_folder_and_a_bad_setting(tmp_path: Path) -> None:
    done = lesson15("run", tmp_path, "--state-dir", tmp_path)
    assert done.returncode == 2
    assert "No documents" in done.stderr
    done = lesson15("list", LESSON15_MAX_CONCURRENT="many")
    assert done.returncode == 2
    assert "LESSON15_MAX_CONCURRENT='many'" in done.stderr


def test_state_that_cannot_be_written_aborts(docs: Path, tmp_path: Path) -> None:
    (tmp_path / "occupied").touch()
    done = lesson15("run", docs, "--batch-id", "b", "--state-dir", tmp_path / "occupied", "--json",
                    "--embedder", "hashing")  # fmt: skip
    assert done.returncode == 3
    assert as_json(done)["status"] == "aborted"
    assert "To go on: lesson15 resume b" in done.stderr


def test_the_same_batch_twice(batch: Path, docs: Path) -> None:
    done = lesson15("run", docs, "--batch-id", "b", "--state-dir", batch)
    assert done.returncode == 2
    assert "already exists" in done.stderr


def test_ctrl_c_keeps_a_checkpoint(tmp_path: Path, state: Path) -> None:
    docs = tmp_path / "many"
    docs.mkdir()
    for number in range(3000):
        (docs / f"{number:04}.txt").write_text(f"Document number {number}. " * 40)
    process = subprocess.Popen(
        [sys.executable, "-m", "lesson15.cli", "run", docs, "--batch-id", "b", "--state-dir", state,
         "--embedder", "hashing"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    manager = CheckpointManager(state)
    while time.monotonic() < deadline:
        found = manager.try_open("b")
        if isinstance(found, StoredBatch) and found.state.processed_docs:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 3, errors
    assert f"lesson15 resume b --state-dir {state}" in out
    assert "press Ctrl-C again" in errors
    status = as_json(lesson15("status", "b", "--state-dir", state, "--json"))
    assert status["status"] == "cancelled"
    assert 0 < status["processed_docs"] < 3000
    resumed = lesson15("resume", "b", "--state-dir", state, "--json")
    assert resumed.returncode == 0
    assert as_json(resumed)["processed_docs"] == 3000
    assert lesson15("verify", "b", "--state-dir", state).returncode == 0


@pytest.mark.parametrize(
    "command", ["--help", "status b", "list", "search --help", "replay b", "replay --help"]
)
def test_starting_up_imports_nothing_heavy(tmp_path: Path, command: str) -> None:
    code = (
        "import sys; sys.argv[0] = 'lesson15'\n"
        "from lesson15.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'faiss', 'numpy', 'transformers', 'chromadb'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
        env={**os.environ, "LESSON15_STATE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
