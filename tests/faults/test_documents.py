"""What each fault on the way of a document leads to, in the real engine."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lesson15 import BatchProcessor, CheckpointManager, verify
from lesson15.embedding import HashingEmbedder
from lesson15.engine.work import DocumentOutcome, SourceDocument
from lesson15.errors import StorageError
from lesson15.events import DocSettled, FaultInjected
from lesson15.faults import FaultControl, FaultPlan
from lesson15.recovery import POLICY, SYSTEM_ERROR, Action
from lesson15.settings import Settings
from tests.faults.conftest import Run, plan, rule

NO_WAIT = Settings(retry_delay=0)
ROWS = {decision.name.replace(" ", "_"): decision for decision in POLICY}
DOCUMENT_POINTS = ("read", "parse", "embed", "result")


def check_nothing_is_lost(report: dict[str, Any], state: Path) -> None:
    assert report["status"] == "finished"
    assert report["total_docs"] == 12
    assert report["processed_docs"] + report["failed_docs"] + report["skipped_docs"] == 12
    result = verify("b", state)
    assert result.is_clean, result.faults


@pytest.mark.parametrize("kind", [name for name, row in ROWS.items() if row is not SYSTEM_ERROR])
@pytest.mark.parametrize("point", DOCUMENT_POINTS)
async def test_policy_errors_follow_the_table(run: Run, state: Path, point: str, kind: str) -> None:
    report, verdicts, faults = await run(rule(point, kind, documents="d3.txt"))
    verdict, row = verdicts["d3.txt"], ROWS[kind]
    assert verdict.attempts == row.retries + 1
    assert verdict.status == ("skipped" if row.action is Action.SKIP else "failed")
    assert len(faults) == row.retries + 1
    assert {(fault.point, fault.fault, fault.doc_id) for fault in faults} == {
        (point, kind, "docs/d3.txt")
    }
    assert all(abs(fault.at - time.time()) < 60 for fault in faults)
    assert report["processed_docs"] == 9  # the others are unaffected
    assert all(verdicts[f"d{n}.txt"].attempts == 1 for n in range(10) if n != 3)
    check_nothing_is_lost(report, state)
    assert FaultControl(state, "b").fired == {f"{point}:{kind}": row.retries + 1}


@pytest.mark.parametrize("point", DOCUMENT_POINTS)
async def test_a_system_error_aborts_and_resumes(
    run: Run, state: Path, make: Any, point: str
) -> None:
    with pytest.raises(StorageError, match=f"injected fault at {point}"):
        await run(rule(point, "system_error", documents="d7.txt"))
    assert CheckpointManager(state).load_checkpoint("b").status == "running"
    assert verify("b", state).is_clean
    check_nothing_is_lost(await make().resume_batch("b"), state)


async def test_a_passing_fault_is_retried_to_success(run: Run, state: Path) -> None:
    report, verdicts, _ = await run(
        rule("embed", "network_timeout", documents="d3.txt", times=2),
        rule("read", "out_of_memory", documents="d4.txt", times=1),
    )
    assert (verdicts["d3.txt"].attempts, verdicts["d4.txt"].attempts) == (3, 2)
    assert report["processed_docs"] == 10
    check_nothing_is_lost(report, state)


async def test_out_of_memory_lowers_concurrency(here: Path, make: Any, state: Path) -> None:
    processor: BatchProcessor = make(
        max_concurrent=8, faults=plan(rule("embed", "out_of_memory", documents="d3.txt", times=1))
    )
    limits: list[int] = []
    processor.listeners.append(
        lambda event: (
            limits.append(processor._runs["b"].limit.current)
            if isinstance(event, DocSettled)
            else None
        )
    )
    report = await processor.process_batch(["docs"], "b")
    assert min(limits) <= 4
    check_nothing_is_lost(report, state)


@pytest.mark.parametrize(
    ("kind", "part"), [("hang", "LESSON15_PARSE_TIMEOUT"), ("kill", "killed by SIGKILL")]
)
@pytest.mark.parametrize("point", ["read", "parse"])
async def test_the_parser_process_is_what_dies(
    run: Run, state: Path, point: str, kind: str, part: str
) -> None:
    report, verdicts, _ = await run(
        rule(point, kind, documents="d3.txt"),
        settings=Settings(retry_delay=0, parse_timeout=3),  # long for the others on a busy machine
    )
    assert part in verdicts["d3.txt"].error
    assert verdicts["d3.txt"].attempts == 2
    assert report["processed_docs"] == 9
    check_nothing_is_lost(report, state)


async def test_memory_runs_out_inside_the_parser_process(run: Run) -> None:
    _, verdicts, _ = await run(rule("parse", "out_of_memory", documents="d3.txt"))
    assert verdicts["d3.txt"].error_type == "OutOfMemoryError"
    assert "while parsing" in verdicts["d3.txt"].error  # the parser's own words


async def test_a_hanging_model_is_left_behind(run: Run, state: Path) -> None:
    report, verdicts, _ = await run(
        rule("embed", "hang", documents="d3.txt", times=1),
        rule("embed", "hang", documents="d5.txt"),
        settings=Settings(retry_delay=0, embed_timeout=1, embed_batch_chunks=1),
    )
    assert verdicts["d3.txt"].attempts == 2
    assert verdicts["d5.txt"].attempts == 4
    assert "LESSON15_EMBED_TIMEOUT" in verdicts["d5.txt"].error
    assert report["processed_docs"] == 9
    check_nothing_is_lost(report, state)


@pytest.mark.parametrize("point", [*DOCUMENT_POINTS, "index", "checkpoint_write", "fsync"])
async def test_delays_only_take_time(run: Run, state: Path, point: str) -> None:
    started = time.monotonic()
    report, _, faults = await run(rule(point, "delay", times=1, seconds=0.4))
    assert time.monotonic() - started >= 0.4
    assert len(faults) == 1
    assert report["processed_docs"] == 10
    check_nothing_is_lost(report, state)


@pytest.mark.parametrize("concurrency", [1, 3, 8])
async def test_the_same_seed_gives_the_same_run(run: Run, state: Path, concurrency: int) -> None:
    rules = (
        rule("read", "file_not_found", rate=0.1),
        rule("parse", "parse_error", rate=0.3),
        rule("embed", "network_timeout", rate=0.5),
        rule("embed", "out_of_memory", rate=0.3),
        rule("result", "network_timeout", rate=0.2),
    )

    async def verdicts(batch: str, at_once: int, seed: int) -> dict[str, tuple[str, int]]:
        options = {"max_concurrent": at_once, "batch": batch, "seed": seed}
        report, verdicts, _ = await run(*rules, **options)
        assert len(verdicts) == report["total_docs"] == 12
        return {name: (one.status.value, one.attempts) for name, one in verdicts.items()}

    first = await verdicts("b", concurrency, 15)
    assert await verdicts("c", 4, 15) == first
    assert await verdicts("d", 4, 16) != first
    assert {status for status, _ in first.values()} >= {"done", "failed"}
    assert len({attempts for _, attempts in first.values()}) >= 3


async def test_the_text_in_the_index_is_untouched(run: Run, make: Any, state: Path) -> None:
    """A fault that travels with a chunk leaves no trace in it, and embeds to the same."""
    await run(rule("embed", "delay", seconds=0), max_concurrent=1)
    await make(max_concurrent=1, state_dir=state / "plain").process_batch(["docs"], "b")
    with_faults, without = state / "b" / "segment.bin", state / "plain" / "b" / "segment.bin"
    assert with_faults.read_bytes() == without.read_bytes()


async def test_other_work_has_a_result_too(make: Any) -> None:
    async def work(document: SourceDocument) -> DocumentOutcome:
        return DocumentOutcome()

    report = await make(
        work=work,
        fingerprint=lambda path: None,
        faults=plan(rule("result", "parse_error", documents="a")),
    ).process_batch(["a", "b"], "b")
    assert [failure["doc_id"] for failure in report["failures"]] == ["a"]


class TwoThreads(HashingEmbedder):
    threads = 2

    def __init__(self) -> None:
        super().__init__()
        self.begun: set[int] = set()

    def begin_thread(self) -> None:
        self.begun.add(threading.get_ident())


async def test_an_embedder_of_several_threads_remains_one(run: Run) -> None:
    embedder = TwoThreads()
    report, _, _ = await run(
        rule("embed", "delay", seconds=1, times=1), embedder=embedder, max_concurrent=4
    )
    assert report["processed_docs"] == 10
    assert len(embedder.begun) == 2


async def test_a_hang_ends_when_the_plan_is_cleared(here: Path, make: Any, state: Path) -> None:
    processor: BatchProcessor = make(faults=plan(rule("result", "hang", documents="d3.txt")))
    hanging = asyncio.Event()
    processor.listeners.append(lambda e: hanging.set() if isinstance(e, FaultInjected) else None)
    batch = asyncio.create_task(processor.process_batch(["docs"], "b"))
    await asyncio.wait_for(hanging.wait(), 20)
    await asyncio.sleep(0.2)
    assert not batch.done()
    FaultControl(state, "b").clear()
    report = await asyncio.wait_for(batch, 20)
    assert report["processed_docs"] == 10


async def test_faults_begin_and_end_while_the_batch_runs(
    make: Any, state: Path, tmp_path: Path
) -> None:
    control = FaultControl(state, "b")
    assert control.plan == FaultPlan()
    gate = asyncio.Semaphore(0)

    async def work(document: SourceDocument) -> DocumentOutcome:
        await gate.acquire()
        return DocumentOutcome()

    processor: BatchProcessor = make(work=work, faults=control, fingerprint=lambda path: None)
    settled: dict[str, str] = {}
    processor.listeners.append(
        lambda e: settled.update({e.doc_id: e.status}) if isinstance(e, DocSettled) else None
    )
    names = [f"d{number}" for number in range(30)]

    async def let_through(count: int) -> None:
        target = len(settled) + count
        await asyncio.sleep(0.06)  # the plan is looked at every 50 ms
        for _ in range(count):
            gate.release()
        while len(settled) < target:  # noqa: ASYNC110 - counted by a listener
            await asyncio.sleep(0.005)

    batch = asyncio.create_task(processor.process_batch(names, "b"))
    await let_through(10)
    await asyncio.to_thread(control.set, plan(rule("result", "file_not_found")))
    await let_through(10)
    await asyncio.to_thread(control.clear)
    await let_through(10)
    report = await batch
    assert [settled[name] for name in names] == ["done"] * 10 + ["skipped"] * 10 + ["done"] * 10
    assert (report["processed_docs"], report["skipped_docs"]) == (20, 10)
    assert control.fired == {"result:file_not_found": 10}
