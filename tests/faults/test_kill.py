"""Faults that end the process for good, as a user runs it; then resume, verify, compare."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lesson15 import CheckpointManager, verify
from lesson15.errors import CorruptCheckpointError
from lesson15.faults import FaultControl, FaultRule
from tests.crash import oracle
from tests.faults.conftest import plan, rule
from tests.test_cli import as_json, lesson15


def start(docs: Path, state: Path, *rules: FaultRule) -> subprocess.CompletedProcess[str]:
    path = state.parent / "plan.json"
    path.write_text(plan(*rules).to_json())
    return lesson15(
        "run", docs, "--batch-id", "b", "--state-dir", state, "--embedder", "hashing",
        "--max-concurrent", 1, "--checkpoint-interval", 3, "--faults", path, "--json",
    )  # fmt: skip


def kill(point: str, name: str = "*", nth: int = 1) -> FaultRule:
    return rule(point, "kill", documents=name, nth=nth)


def torn(name: str, nth: int) -> list[FaultRule]:
    write = {"documents": name, "nth": nth}
    return [rule("checkpoint_write", kind, **write) for kind in ("torn_write", "kill")]


def lie(name: str, nth: int) -> FaultRule:
    return rule("fsync", "unflushed_write", documents=name, nth=nth)


# The first write of checkpoint.json is that of the empty batch, so its third is the second commit.
RECOVERABLE = {
    "embed": [kill("embed", "d4.txt")],
    "result": [kill("result", "d5.txt")],
    "index add": [kill("index", "add")],
    "index save": [kill("index", "save")],
    "journal write": [kill("checkpoint_write", "journal.log", 2)],
    "segment write": [kill("checkpoint_write", "segment.bin", 2)],
    "checkpoint write": [kill("checkpoint_write", "checkpoint.json", 3)],
    "journal fsync": [kill("fsync", "journal.log", 2)],
    "rename": [kill("rename", "checkpoint.json", 3)],
    "folder fsync": [kill("fsync", "folder", 6)],
    "torn journal": torn("journal.log", 2),
    "torn segment": torn("segment.bin", 2),
    "torn checkpoint": torn("checkpoint.json", 3),
    "unflushed segment": [lie("segment.bin", 2), kill("rename", "checkpoint.json", 3)],
    "unflushed journal": [lie("journal.log", 2), kill("rename", "checkpoint.json", 3)],
    "unflushed rename": [lie("folder", 6), kill("checkpoint_write", "journal.log", 3)],
}


@pytest.mark.parametrize("rules", RECOVERABLE.values(), ids=RECOVERABLE.keys())
async def test_a_killed_batch_resumes_to_the_same(
    docs: Path, state: Path, make: Any, rules: list[FaultRule]
) -> None:
    done = start(docs, state, *rules)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert f"{rules[-1].point}:kill" in FaultControl(state, "b").fired  # counted before it struck
    interrupted = verify("b", state)
    faults = [f for f in interrupted.faults if "is missing, damaged or of another" not in f]
    assert not faults
    report = await make().resume_batch("b")
    assert report["status"] == "finished"
    result = verify("b", state)
    assert result.is_clean, result.faults
    assert oracle.indexed(state, "b") == oracle.sequential(docs, "hashing")


# An fsync that lied about what was then committed: no order of calls can mend that.
DAMAGED = {
    "journal.log": [lie("journal.log", 2), kill("checkpoint_write", "segment.bin", 3)],
    "segment.bin": [lie("segment.bin", 2), kill("checkpoint_write", "segment.bin", 3)],
    "checkpoint.json": [lie("checkpoint.json", 3), kill("checkpoint_write", "segment.bin", 3)],
}


@pytest.mark.parametrize("name", DAMAGED)
async def test_a_committed_loss_is_reported_by_name(
    docs: Path, state: Path, make: Any, name: str
) -> None:
    done = start(docs, state, *DAMAGED[name])
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert any(name in fault for fault in verify("b", state).faults)
    with pytest.raises(CorruptCheckpointError, match=name):
        await make().resume_batch("b")


def test_a_hanging_model_does_not_keep_the_process(docs: Path, state: Path) -> None:
    path = state.parent / "plan.json"
    path.write_text(plan(rule("embed", "hang", documents="d3.txt")).to_json())
    done = lesson15("run", docs, "--batch-id", "b", "--state-dir", state, "--embedder", "hashing",
                    "--faults", path, "--json", LESSON15_EMBED_TIMEOUT="0.3")  # fmt: skip
    assert done.returncode == 1, done.stderr
    failed = {failure["doc_id"]: failure for failure in as_json(done)["failures"]}
    assert failed[str(docs / "d3.txt")]["attempts"] == 4


@pytest.mark.parametrize("kind", ["disk_full", "system_error"])
@pytest.mark.parametrize("point", ["checkpoint_write", "fsync", "rename"])
def test_the_command_exits_3_and_resumes(docs: Path, state: Path, point: str, kind: str) -> None:
    done = start(docs, state, rule(point, kind, documents="checkpoint.json", nth=3))
    assert done.returncode == 3, done.stderr
    report = as_json(done)
    assert report["status"] == "aborted"
    assert 0 < report["processed_docs"] < 10
    assert "To go on: lesson15 resume b" in done.stderr
    assert "Traceback" not in done.stderr
    resumed = lesson15("resume", "b", "--state-dir", state, "--json")
    assert as_json(resumed)["processed_docs"] == 10
    assert verify("b", state).is_clean


def test_fault_commands(docs: Path, state: Path, tmp_path: Path) -> None:
    at = ("--state-dir", state)
    refused = lesson15("fault", "show", "b", *at)
    assert refused.returncode == 2
    assert "No batch 'b'" in refused.stderr
    started = start(docs, state, rule("parse", "file_not_found", documents="d3.txt"))
    assert started.returncode == 1
    shown = as_json(lesson15("fault", "show", "b", *at, "--json"))
    assert shown["batch_id"] == "b"
    assert shown["fired"] == {"parse:file_not_found": 1}
    assert shown["plan"]["rules"][0]["documents"] == "d3.txt"
    path = tmp_path / "other.json"
    path.write_text(plan(rule("parse", "parse_error", documents="d3.txt")).to_json())
    assert "1 fault rules in force" in lesson15("fault", "set", "b", path, *at).stdout
    live = as_json(lesson15("retry-failed", "b", "--faults", "live", *at, "--json"))
    assert any("injected fault" in failure["error"] for failure in live["failures"])
    assert "no faults in force" in lesson15("fault", "clear", "b", *at).stdout
    assert "parse:parse_error: 2" in lesson15("fault", "show", "b", *at).stdout
    resumed = as_json(lesson15("resume", "b", "--faults", "live", *at, "--json"))
    assert resumed["failed_docs"] == 3
    retried = as_json(lesson15("retry-failed", "b", "--faults", path, *at, "--json"))
    assert retried["failed_docs"] == 3
    path.write_text('{"rules": [{"point": "rename", "kind": "bit_flip"}]}')
    for command in (["fault", "set", "b", path], ["resume", "b", "--faults", path]):
        bad = lesson15(*command, *at)
        assert bad.returncode == 2
        assert "'bit_flip' makes no sense at the point 'rename'" in bad.stderr


def test_the_table_of_points() -> None:
    table = lesson15("fault", "points")
    assert table.returncode == 0
    assert "unflushed_write" in table.stdout
    listed = as_json(lesson15("fault", "points", "--json"))
    assert listed["rename"] == ["system_error", "delay", "hang", "disk_full", "kill"]


def test_a_running_batch_is_controlled_from_another_process(tmp_path: Path, state: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(40):
        (docs / f"{number:02}.txt").write_text(f"Document number {number}. " * 40)
    slow, missing = tmp_path / "slow.json", tmp_path / "missing.json"
    slow.write_text(plan(rule("result", "hang", documents="1*.txt")).to_json())
    missing.write_text(plan(rule("result", "file_not_found", documents="2*.txt")).to_json())
    code = (
        "import sys; from lesson15.cli import main; sys.argv[1:] = "
        + json.dumps(["run", str(docs), "--batch-id", "b", "--state-dir", str(state),
                      "--embedder", "hashing", "--max-concurrent", "2", "--faults", str(slow)])
        + "; main()"
    )  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    control = FaultControl(state, "b")
    deadline = time.monotonic() + 60
    while control.fired != {"result:hang": 2} and time.monotonic() < deadline:
        time.sleep(0.05)
    assert control.fired == {"result:hang": 2}  # seen while it runs: both workers hang
    assert process.poll() is None
    assert lesson15("fault", "set", "b", missing, "--state-dir", state).returncode == 0
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert control.fired == {"result:hang": 2, "result:file_not_found": 10}
    saved = CheckpointManager(state).open("b").state
    assert (saved.processed_docs, saved.skipped_docs) == (30, 10)
