"""Faults of the disk and the index that leave the process alive."""

from __future__ import annotations

import asyncio
import errno
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lesson15 import CheckpointManager, verify
from lesson15.errors import CheckpointWriteError, CorruptCheckpointError, StorageError, UsageError
from lesson15.events import FaultInjected
from lesson15.faults import FaultControl, FaultPlan, FaultPoint, FaultRule
from lesson15.faults.points import ALLOWED
from tests.crash import oracle
from tests.faults.conftest import Run, plan, rule

FILES = ("journal.log", "segment.bin", "checkpoint.json")
PLACES = [
    *[("checkpoint_write", kind, name) for kind in ("system_error", "disk_full", "torn_write")
      for name in FILES],
    *[("fsync", kind, name) for kind in ("system_error", "disk_full") for name in FILES],
    ("fsync", "system_error", "folder"),
    ("rename", "system_error", "checkpoint.json"),
    ("rename", "disk_full", "checkpoint.json"),
    *[("index", kind, "add") for kind in
      ("system_error", "disk_full", "network_timeout", "out_of_memory")],
    ("index", "system_error", "save"),
]  # fmt: skip


@pytest.mark.parametrize(("point", "kind", "name"), PLACES)
async def test_a_failing_disk_aborts_and_resumes(
    run: Run, make: Any, state: Path, point: str, kind: str, name: str
) -> None:
    nth = 1 if point == "index" else 5 if name == "folder" else 2
    with pytest.raises(CheckpointWriteError, match="lesson15 resume"):
        await run(rule(point, kind, documents=name, nth=nth), max_concurrent=4)
    assert FaultControl(state, "b").fired == {f"{point}:{kind}": 1}
    interrupted = verify("b", state)
    if point == "index":  # everything was committed; only the derived index is not there
        assert ["is missing" in fault for fault in interrupted.faults] == [True]
    else:
        assert interrupted.is_clean, interrupted.faults
    saved = CheckpointManager(state).open("b").state
    report = await make().resume_batch("b")
    assert report["processed_docs"] == 10 >= saved.processed_docs
    assert report["total_docs"] == 12
    assert verify("b", state).is_clean
    assert oracle.indexed(state, "b") == oracle.sequential(Path("docs"), "hashing")


@pytest.mark.parametrize("name", ["manifest.json", "checkpoint.json"])
async def test_no_room_to_begin(run: Run, make: Any, state: Path, name: str) -> None:
    with pytest.raises(CheckpointWriteError, match="No space left"):
        await run(rule("checkpoint_write", "disk_full", documents=name, nth=1))
    report = await make().process_batch(["docs"], "b")  # no batch came of it: begin again
    assert report["processed_docs"] == 10


async def test_a_part_is_written_before_the_disk_is_full(run: Run, state: Path) -> None:
    journal = state / "b" / "journal.log"
    with pytest.raises(CheckpointWriteError) as caught:
        await run(rule("checkpoint_write", "torn_write", documents="journal.log", nth=2))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EIO
    committed = CheckpointManager(state).open("b").commit.journal_bytes
    assert journal.stat().st_size > committed


async def count(run: Run, state: Path, point: str, name: str) -> int:
    await run(rule(point, "delay", seconds=0, documents=name), batch="dry", max_concurrent=1)
    return FaultControl(state, "dry").fired[f"{point}:delay"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("which", ["first", "second", "last"])
async def test_a_flipped_bit_is_reported_by_name(
    run: Run, state: Path, make: Any, name: str, which: str
) -> None:
    last = await count(run, state, "checkpoint_write", name)
    assert last >= 3
    nth = {"first": 1, "second": 2, "last": last}[which]
    flip = rule("checkpoint_write", "bit_flip", documents=name, nth=nth)
    raised = ""
    try:
        await run(flip, max_concurrent=1)
    except CorruptCheckpointError as error:
        raised = str(error)
    assert not raised or name in raised
    result = verify("b", state)
    if name == "checkpoint.json" and which != "last":
        assert result.is_clean  # a sound one has replaced it
    else:
        assert any(name in fault for fault in result.faults), result.faults


async def test_an_fsync_that_lied_does_no_harm_to_a_process_that_lives(
    run: Run, state: Path
) -> None:
    report, _, faults = await run(rule("fsync", "unflushed_write", rate=0.5))
    assert len(faults) > 3
    assert {fault.doc_id for fault in faults} > {"folder"}
    assert report["processed_docs"] == 10
    assert verify("b", state).is_clean


async def test_removed_documents_pass_the_index_too(run: Run, make: Any, here: Path) -> None:
    await run()
    (here / "d1.txt").write_text("something else")
    with pytest.raises(CheckpointWriteError):
        await make(faults=plan(rule("index", "out_of_memory", documents="remove"))).resume_batch(
            "b"
        )
    assert (await make().resume_batch("b"))["processed_docs"] == 10


NOT_IN_THIS_PROCESS = ("hang", "kill")
DAMAGE = {"bit_flip"}


def some_plan(seed: int) -> FaultPlan:
    dice = random.Random(seed)
    rules = []
    for _ in range(dice.randint(1, 4)):
        point = dice.choice(list(FaultPoint))
        kind = dice.choice([k for k in sorted(ALLOWED[point]) if k not in NOT_IN_THIS_PROCESS])
        rules.append(
            FaultRule(
                point=point,
                kind=kind,
                rate=dice.choice([0.1, 0.3, 1.0]),
                seconds=0.01,
                nth=dice.choice([None, None, 2, 5]),
                times=dice.choice([None, 1, 3]),
            )
        )
    return FaultPlan(seed=seed, rules=rules)


@pytest.mark.parametrize("seed", range(30))
async def test_nothing_is_lost_silently_under_any_plan(
    here: Path, make: Any, state: Path, seed: int
) -> None:
    faults = some_plan(seed)
    is_damaging = any(one.kind in DAMAGE for one in faults.rules)
    try:
        try:
            report = await make(faults=faults, max_concurrent=2).process_batch(["docs"], "b")
        except StorageError:
            if not CheckpointManager(state).list_checkpoints():  # it did not even begin
                return
            report = await make(max_concurrent=2).resume_batch("b")
    except CorruptCheckpointError:
        assert is_damaging, faults
        assert not verify("b", state).is_clean
        return
    assert report["processed_docs"] + report["failed_docs"] + report["skipped_docs"] == 12
    result = verify("b", state)
    assert result.is_clean or is_damaging, result.faults
    if not result.is_clean or result.index == "empty":  # damage was named, or nothing was done
        return
    found = oracle.indexed(state, "b")
    expected = oracle.sequential(Path("docs"), "hashing").vectors
    assert found.vectors.items() <= expected.items()
    assert found.vectors.keys() | found.failures >= expected.keys()  # by verdict, never missing


async def test_a_control_of_another_batch_is_refused(here: Path, make: Any, state: Path) -> None:
    with pytest.raises(UsageError, match="FaultControl"):
        await make(faults=FaultControl(state, "other")).process_batch(["docs"], "b")


async def test_without_a_plan_the_control_file_does_nothing(
    here: Path, make: Any, state: Path
) -> None:
    control = FaultControl(state, "b")
    control.set(plan(rule("parse", "parse_error"), rule("rename", "system_error")))
    assert (await make().process_batch(["docs"], "b"))["processed_docs"] == 10
    assert control.fired == {}


def test_without_a_plan_no_code_of_faults_is_loaded(docs: Path, state: Path) -> None:
    code = (
        "import sys, lesson15\n"
        "lesson15.run([sys.argv[1]], 'b', state_dir=sys.argv[2], embedder='hashing')\n"
        "sys.exit(any(name.startswith('lesson15.faults') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code, docs, state], check=False).returncode == 0


def test_a_control_file_that_cannot_be_changed_is_named(tmp_path: Path) -> None:
    (tmp_path / "occupied").touch()
    control = FaultControl(tmp_path / "occupied", "b")
    for act in (lambda: control.set(FaultPlan()), control.clear):
        with pytest.raises(StorageError, match=r"faults\.json"):
            act()


async def test_cancelling_waits_for_the_commit_that_runs(
    here: Path, make: Any, state: Path
) -> None:
    """The record of the cancelling must not get into a commit that does not write it."""
    processor = make(
        faults=plan(
            rule("fsync", "delay", seconds=0.3, documents="journal.log", nth=1),
            rule("checkpoint_write", "system_error", documents="journal.log", nth=2),
        )
    )
    batch = asyncio.create_task(processor.process_batch(["docs"], "b"))
    processor.listeners.append(
        lambda e: batch.cancel() if isinstance(e, FaultInjected) and e.fault == "delay" else None
    )
    with pytest.raises(CheckpointWriteError):
        await batch
    assert CheckpointManager(state).open("b").state.processed_docs > 0
    interrupted = verify("b", state)
    assert interrupted.is_clean, interrupted.faults
    assert (await make().resume_batch("b"))["processed_docs"] == 10
