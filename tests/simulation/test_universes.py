"""The engine, as it is shipped, in universes: none breaks a promise, and each is always the same.

``LESSON15_UNIVERSES=5000`` runs more of them, ``LESSON15_UNIVERSE_SEED`` says from which seed on.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lesson15.engine.concurrency import AdaptiveLimit, PressureMonitor
from lesson15.engine.feed import Feed
from lesson15.errors import UsageError
from lesson15.simulation import Progress, load, run_universe, save, search, tell, universe
from lesson15.simulation.primitives import present_world
from lesson15.simulation.search import SEED_VARIABLE, first_seed

COUNT = int(os.environ.get("LESSON15_UNIVERSES", "40"))
BY_OTHERS = """
import hashlib, sys
from lesson15.simulation import run_universe
for seed in map(int, sys.argv[1:]):
    outcome = run_universe(seed)
    told = repr((outcome.story, outcome.choices)).encode()
    print(hashlib.sha256(told + outcome.journal).hexdigest())
"""


@pytest.mark.timeout(3600)
def test_no_promise_is_broken(universes: Callable[..., None]) -> None:
    universes(COUNT)


def test_seeds_that_once_found_something(universes: Callable[..., None]) -> None:
    """A rival held the lock for longer than the engine waits; a real lock held a thread back."""
    for seed in (2957, 11163, 11447, 50196, 52308):
        universes(1, seed=seed)


def test_the_same_seed_makes_the_same_universe_in_every_process() -> None:
    seeds = [str(seed) for seed in range(1, 11)]
    found = [
        subprocess.run(
            [sys.executable, "-c", BY_OTHERS, *order],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout.split()
        for order, hash_seed in ((seeds, "1"), (seeds[::-1], "2"))
    ]
    assert len(set(found[0])) == len(seeds)
    assert found[0] == found[1][::-1]


def test_other_seeds_make_other_universes() -> None:
    journals = {run_universe(seed).journal for seed in range(1, 11)}
    assert len(journals) == 10


def test_its_decisions_make_it_again() -> None:
    first = run_universe(5)
    again = run_universe(5, first.choices)
    assert again.journal == first.journal
    assert again.story == first.story
    assert again.choices == first.choices


def test_without_decisions_a_universe_is_small_and_calm() -> None:
    outcome = run_universe(5, {})
    assert outcome.choices == {}
    assert outcome.crashes == 0
    assert "d0.txt is done" in tell(outcome)


def test_crashes_faults_and_switches_do_happen() -> None:
    outcomes = [run_universe(seed) for seed in range(1, 31)]
    told = "\n".join(map(tell, outcomes))
    for happening in ("the power goes", "the process is killed", "is held back", "goes on",
                      "a fault strikes", "pauses the batch", "bytes that were not flushed",
                      "is promised", "is recovered", "dies"):  # fmt: skip
        assert happening in told, happening
    assert sum(outcome.crashes for outcome in outcomes) > 15
    assert sum(outcome.points for outcome in outcomes) > 20_000


def test_nothing_is_left_behind() -> None:
    before = threading.active_count(), time.time, threading.Lock, os.getpid
    run_universe(3)
    assert (threading.active_count(), time.time, threading.Lock, os.getpid) == before
    assert present_world() is None
    assert abs(time.time() - Path(__file__).stat().st_mtime) < 1e9


async def test_it_runs_beside_an_event_loop() -> None:
    assert run_universe(4).violation is None


def test_a_universe_is_kept_in_a_file(tmp_path: Path) -> None:
    outcome = run_universe(7)
    save(outcome, tmp_path / "universe.json")
    assert load(tmp_path / "universe.json") == (7, outcome.choices)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"lesson15_universe": 2, "seed": 1, "choices": {}}',
     '{"lesson15_universe": 1, "seed": 1, "choices": {"lives 1": null}}'],
)  # fmt: skip
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(UsageError, match=r"file\.json is not a universe"):
        load(tmp_path / "file.json")


def test_progress_is_kept_up() -> None:
    told: list[int] = []
    progress = Progress()
    found = search(range(1, 4), progress=progress, tell=lambda each: told.append(each.universes))
    assert found is None
    assert told == [1, 2, 3]
    assert progress.rate > 0
    assert progress.virtual_seconds > 1


def test_the_first_seed_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEED_VARIABLE, "17")
    assert first_seed() == 17
    monkeypatch.setenv(SEED_VARIABLE, "x")
    with pytest.raises(UsageError, match="no whole number"):
        first_seed()
    monkeypatch.delenv(SEED_VARIABLE)
    assert first_seed() > 20_000_000


def test_the_command(tmp_path: Path) -> None:
    def simulate(*arguments: object) -> tuple[int, dict[str, object]]:
        done = subprocess.run(
            [sys.executable, "-m", "lesson15", "simulate", "--json", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        return done.returncode, json.loads(done.stdout)

    code, report = simulate("--seeds", 3, "--seed", 1)
    assert code == 0
    assert (report["first_seed"], report["universes"], report["violation"]) == (1, 3, None)
    save(run_universe(2), tmp_path / "two.json")
    code, report = simulate("--replay", "two.json")
    assert (code, report["seed"], report["violation"]) == (0, 2, None)


def test_who_runs_in_a_circle_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def circle(self: AdaptiveLimit) -> None:
        while True:
            pass

    run_universe(1)  # so that everything is imported
    monkeypatch.setattr(universe, "_PATIENCE_SECONDS", 5.0)
    monkeypatch.setattr(AdaptiveLimit, "succeed", circle)
    assert "in a circle" in str(run_universe(1, {}).violation)


def test_who_waits_for_ever_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PressureMonitor, "watch", lambda self: asyncio.Event().wait())
    monkeypatch.setattr(Feed, "next", lambda self: asyncio.Event().wait())
    assert "nobody can go on: main is at" in str(run_universe(1, {}).violation)
