"""Decisions: which faults strike at which call."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lesson15.faults import FaultControl, FaultPoint, FaultRule
from lesson15.faults.injector import FaultInjector
from tests.faults.conftest import plan, rule

PARSE = FaultPoint.PARSE


def make_injector(state: Path, *rules: FaultRule, seed: int = 15, batch: str = "b") -> Any:
    control = FaultControl(state, batch)
    control.set(plan(*rules, seed=seed))
    return FaultInjector(control, lambda record: None)


def struck(injector: Any, documents: list[str], attempt: int = 1) -> set[str]:
    return {name for name in documents if injector.decide(PARSE, name, attempt)}


NAMES = [f"d{number}" for number in range(2000)]


def test_a_rate_does_not_depend_on_the_order(state: Path) -> None:
    half = rule("parse", "parse_error", rate=0.2)
    first = struck(make_injector(state, half), NAMES)
    shuffled = random.Random(1).sample(NAMES, len(NAMES))
    assert struck(make_injector(state, half), shuffled) == first
    assert 0.16 < len(first) / len(NAMES) < 0.24
    assert struck(make_injector(state, half, seed=16), NAMES) != first
    assert struck(make_injector(state, half), NAMES, attempt=2) != first
    two = make_injector(state, rule("parse", "delay", rate=0), half)
    assert struck(two, NAMES) != first  # the rule's number counts
    assert not struck(make_injector(state, rule("parse", "hang", rate=0)), NAMES)


def test_nth_times_and_documents(state: Path) -> None:
    injector = make_injector(
        state,
        rule("parse", "parse_error", nth=3, documents="d1*"),
        rule("parse", "delay", times=2),
    )
    found = [
        (name, fault.kind)
        for name in ("d0", "d1", "d2", "d10", "d11", "d12")
        for fault in injector.decide(PARSE, name, 1)
    ]
    assert found == [("d0", "delay"), ("d1", "delay"), ("d11", "parse_error")]


def test_calls_at_a_file_are_counted(state: Path) -> None:
    injector = make_injector(state, rule("fsync", "delay", rate=0.5))
    found = [bool(injector.decide(FaultPoint.FSYNC, "journal.log")) for _ in range(200)]
    assert 70 < sum(found) < 130


def test_a_new_plan_is_adopted_and_begins_anew(state: Path) -> None:
    injector = make_injector(state, rule("parse", "delay", times=1))
    control = FaultControl(state, "b")
    assert struck(injector, ["a", "b"]) == {"a"}
    control.set(plan(rule("parse", "delay", nth=2)))
    time.sleep(0.06)
    assert struck(injector, ["d", "e", "f"]) == {"e"}
    control.path.write_text("no plan at all")
    time.sleep(0.06)
    fault = injector.decide(PARSE, "g", 1)
    assert not fault
    control.set(plan(rule("parse", "hang")))
    time.sleep(0.06)
    (hang,) = injector.decide(PARSE, "h", 1)
    assert injector.holds(hang)
    control.clear()
    time.sleep(0.06)
    assert not injector.holds(hang)
    assert not struck(injector, ["i"])


def test_a_damaged_control_file_changes_nothing(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    injector = make_injector(state, rule("parse", "delay"))
    control = FaultControl(state, "b")
    assert struck(injector, ["a"])
    control.path.write_text("{")
    time.sleep(0.06)
    assert struck(injector, ["b"])
    assert "Invalid JSON" in caplog.text


def test_counts_are_published_and_go_on(state: Path) -> None:
    control = FaultControl(state, "b")
    assert control.fired == {}
    injector = make_injector(state, rule("parse", "delay"))
    assert struck(injector, ["a", "b"])
    assert control.fired == {}
    deadline = time.monotonic() + 5
    while control.fired != {"parse:delay": 2} and time.monotonic() < deadline:
        time.sleep(0.02)
    assert struck(injector, ["c"])
    injector.close()
    assert control.fired == {"parse:delay": 3}
    again = make_injector(state, rule("parse", "delay"))
    assert struck(again, ["d"])
    again.close()
    assert control.fired == {"parse:delay": 4}
    control.fired_path.write_text("{")
    assert control.fired == {}


def test_counts_that_cannot_be_written_do_no_harm(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    injector = make_injector(state, rule("parse", "delay"))
    FaultControl(state, "b").fired_path.mkdir()
    assert struck(injector, ["a"])
    injector.close()
    assert "fault counts not written" in caplog.text


def test_times_holds_under_many_threads(state: Path) -> None:
    injector = make_injector(state, rule("parse", "delay", times=25))
    found: list[set[str]] = []
    threads = [
        threading.Thread(target=lambda part=part: found.append(struck(injector, part)))
        for part in (NAMES[:500], NAMES[500:1000], NAMES[1000:1500], NAMES[1500:])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(map(len, found)) == 25
    injector.close()
    assert FaultControl(state, "b").fired == {"parse:delay": 25}
