"""The event log: what is recorded, when, and that docs/events.md tells the truth about it."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest

from lesson15 import BatchProcessor, CheckpointManager, verify
from lesson15.engine.work import DocumentOutcome, SourceDocument
from lesson15.events import (
    AttemptFailed,
    BlockRef,
    Committed,
    DocRemoved,
    DocSettled,
    DocStarted,
    Event,
    FaultInjected,
    LimitChanged,
    PartsChanged,
    Paused,
    RunEnded,
    RunOpened,
    RunStarted,
    ServiceBack,
    ServiceLost,
    TotalCounted,
    Unpaused,
    decode,
    encode,
)
from lesson15.faults import FaultPlan, FaultRule
from lesson15.models import BatchStatus, DocStatus
from lesson15.settings import Settings

Make = Callable[..., BatchProcessor]
TABLE = Path(__file__).parent.parent / "docs" / "events.md"


def records_of(state: Path, batch: str = "b") -> list[dict[str, Any]]:
    """The JSON of the committed journal, as it lies on disk."""
    found = CheckpointManager(state).open(batch)
    journal = found.folder.journal.read_bytes()[: found.commit.journal_bytes]
    return [orjson.loads(line[9:]) for line in journal.splitlines()]


EVENTS: list[Event] = [
    RunStarted(1.0),
    RunStarted(1.0, pid=7, total=0),
    DocSettled(doc_id="ä", status=DocStatus.DONE),
    DocSettled(
        doc_id="d", status=DocStatus.DONE, chunks=3, at=1.5, seconds=0.25, worker=0, attempts=2,
        fingerprint=[1, 2, 3], sha256="f", first_row=9, block=BlockRef(10, 20, 30),
        previous_status=DocStatus.FAILED, previous_chunks=0,
    ),
    DocSettled(
        doc_id="d", status=DocStatus.SKIPPED, error="no such file", error_type="OSError",
        previous_status=DocStatus.DONE, previous_chunks=2,
    ),
    DocRemoved(doc_id="d"),
    DocRemoved(doc_id="d", at=1.0, previous_status=DocStatus.DONE, previous_chunks=4),
    AttemptFailed("d", 2, "parse error", "bad words", 1.0),
    LimitChanged(3, "a test", 1.0),
    FaultInjected("parse", "delay", "d", 1.0),
    FaultInjected("fsync", "delay", None, 1.0),
    TotalCounted(7),
    TotalCounted(0, 1.0),
    Paused(1.0),
    Unpaused(1.0),
    ServiceLost("minilm", "away", 1.0),
    ServiceBack("minilm", 2.5, 1.0),
    PartsChanged({"lesson15": ["0.1.0", "0.2.0"]}, 1.0),
    RunEnded(BatchStatus.FINISHED, 0.5),
    RunEnded(BatchStatus.CANCELLED, 0.5, 1.0),
    Committed(1, 1.0),
    RunOpened("b", 1.0),
    DocStarted("d", None, 1.0),
    DocStarted("d", 2, 1.0),
]  # fmt: skip


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_an_event_survives_its_json(event: Event) -> None:
    record = orjson.loads(orjson.dumps(encode(event)))
    assert record["t"] == event.kind
    assert decode(record) == event


def test_no_kind_of_event_is_left_out_above() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(Event))
    kinds = [kind.kind for kind in get_args(Event)]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"t": "new in version 9"},
        {"t": "doc", "id": "d"},
        {"t": "doc", "id": "d", "s": "dune", "n": 0},
        {"t": "doc", "id": "d", "s": "done", "n": 0, "seg": [1, 2]},
        {"t": "gone"},
        {"t": "end", "status": "ended", "seconds": 1},
        {"t": "end", "status": "finished"},
        {"t": "commit", "at": 1},
        {"t": "limit", "n": 3},
    ],
)
def test_what_is_no_event_is_refused_and_shown(record: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not an event of a batch: \{|'(dune|ended)'"):
        decode(record)


def vocabulary() -> dict[str, tuple[set[str], set[str]]]:
    """From docs/events.md: required and optional fields by type of record."""
    rows = re.findall(r"^\| `(\w+)` \| ([^\[|]*)(?:\[(.*)\])? \|", TABLE.read_text(), re.MULTILINE)
    return {
        kind: (set(re.findall(r"\w+", required)), set(re.findall(r"\w+", optional)))
        for kind, required, optional in rows
    }


def check_vocabulary(records: list[dict[str, Any]]) -> set[str]:
    known = vocabulary()
    for record in records:
        required, optional = known[record["t"]]
        fields = record.keys() - {"t"}
        assert required <= fields <= required | optional, record
    return {record["t"] for record in records}


async def troubled(document: SourceDocument) -> DocumentOutcome:
    """Runs out of memory at first on d3, loses the network twice on d5, and fails on d7."""
    tries = TRIES[document.doc_id] = TRIES.get(document.doc_id, 0) + 1
    await asyncio.sleep(0)
    if document.doc_id == "d3" and tries == 1:
        raise MemoryError
    if document.doc_id == "d5" and tries < 3:
        raise ConnectionResetError("peer is gone")
    if document.doc_id == "d7":
        raise ValueError("bad words")
    return DocumentOutcome()


TRIES: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _fresh_tries() -> None:
    TRIES.clear()


async def test_rare_events_are_recorded_and_told(state: Path, make: Make) -> None:
    told: list[Event] = []
    delay = FaultRule(point="result", kind="delay", documents="d2", seconds=0)
    processor = make(work=troubled, faults=FaultPlan(rules=[delay]))
    processor.listeners.append(told.append)
    await processor.process_batch([f"d{n}" for n in range(40)], "b")
    records = records_of(state)
    assert check_vocabulary(records) == {
        "run", "doc", "retry", "limit", "fault", "end", "commit",
    }  # fmt: skip
    retries = [(r["id"], r["try"], r["policy"], r["err"]) for r in records if r["t"] == "retry"]
    assert sorted(retries) == [
        ("d3", 2, "out of memory", "MemoryError"),
        ("d5", 2, "network timeout", "peer is gone"),
        ("d5", 3, "network timeout", "peer is gone"),
        ("d7", 2, "parse error", "bad words"),
    ]
    limits = [r["n"] for r in records if r["t"] == "limit"]
    assert limits == [2, 3, 4]  # halved by the memory error, raised again by successes
    (fault,) = [r for r in records if r["t"] == "fault"]
    assert (fault["point"], fault["kind"], fault["id"]) == ("result", "delay", "d2")
    assert {r["w"] for r in records if r["t"] == "doc"} == {0, 1, 2, 3}
    kept = [e for e in told if not isinstance(e, DocStarted | RunOpened)]
    assert sorted(event.kind for event in kept) == sorted(r["t"] for r in records)
    commits = [encode(event) for event in told if isinstance(event, Committed)]
    assert commits == [r for r in records if r["t"] == "commit"]
    assert verify("b", state).is_clean


async def test_each_commit_ends_in_its_record(state: Path, make: Make) -> None:
    await make(work=troubled, interval=3).process_batch([f"a{n}" for n in range(10)], "b")
    records = records_of(state)
    numbers = [r["n"] for r in records if r["t"] == "commit"]
    assert numbers == list(range(1, CheckpointManager(state).open("b").commit.number + 1))
    assert records[-1]["t"] == "commit"


async def test_changes_are_recorded(docs: Path, state: Path, make: Make) -> None:
    await make().process_batch([docs], "b")
    (docs / "d2.txt").unlink()
    os.utime(docs / "d3.txt")
    before = len(records_of(state))
    await make().process_batch([docs], "b", resume=True)
    records = records_of(state)
    assert {"gone", "total"} <= check_vocabulary(records)
    (touched,) = [r for r in records[before:] if r["t"] == "doc"]
    assert touched["was"] == "done"
    assert touched["at"] >= records[before]["at"] - 0.001  # when it was looked at, not first done
    totals = [r["n"] for r in records if r["t"] in ("total", "run")]
    assert totals[-2:] == [12, 11]


async def test_pauses_are_recorded_once(state: Path, make: Make) -> None:
    processor = make(work=troubled, interval=100)

    told: list[Event] = []

    def pause(event: Event) -> None:
        told.append(event)
        match event:
            case DocSettled(doc_id="a3"):
                processor.pause()
            case Paused():  # told once it is durable
                assert records_of(state)[-2]["t"] == "pause"
                processor.unpause()

    processor.listeners.append(pause)
    await processor.process_batch([f"a{n}" for n in range(30)], "b")
    kinds = [r["t"] for r in records_of(state)]
    assert kinds.count("pause") == kinds.count("unpause") == 1
    assert [type(e) for e in told if isinstance(e, Paused | Unpaused)] == [Paused, Unpaused]
    check_vocabulary(records_of(state))


async def test_a_run_with_nothing_to_do_records_nothing(state: Path, make: Make) -> None:
    """Not even that pressure lowered the limit while it found that out."""
    names = [f"a{n}" for n in range(5)]
    await make(work=troubled).process_batch(names, "b")
    before = (state / "b" / "journal.log").read_bytes()
    lowered = threading.Event()
    # No machine has so much free memory, so the monitor lowers the limit at its first look.
    processor = make(work=troubled, settings=Settings(retry_delay=0, memory_low_fraction=0.999999))
    processor.listeners.append(lambda e: lowered.set() if isinstance(e, LimitChanged) else None)

    def names_and_then_a_wait() -> Iterator[str]:
        yield from names
        assert lowered.wait(60)

    await processor.process_batch(names_and_then_a_wait(), "b", resume=True)
    assert lowered.is_set()
    assert (state / "b" / "journal.log").read_bytes() == before
