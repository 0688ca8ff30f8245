"""Engines broken on purpose are found, shrunk and told; the sound engine passes the same seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lesson15.simulation import Outcome, load, run_universe, save, search, shrink, tell
from lesson15.simulation.choices import Value
from lesson15.simulation.shrink import kind_of
from tests.simulation.bugs import BUGS
from tests.simulation.find import SEEDS

WITHIN = 300
"""Seeds in which each of these bugs must be found, from 1 on."""
FOUND_AT: dict[str, int] = json.loads(SEEDS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FOUND_AT)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the seed where it was found last; the engine has changed if it is found at another."""
    BUGS[name](monkeypatch)
    found = search([FOUND_AT[name], *range(1, WITHIN + 1)], shrinks=False)
    assert found is not None
    if found.first.seed != FOUND_AT[name]:
        print(f"found at seed {found.first.seed}: run `python -m tests.simulation.find`")


def test_enough_bugs_are_asked_for() -> None:
    assert len(FOUND_AT) >= 25
    assert FOUND_AT.keys() <= BUGS.keys()


def test_a_bug_is_shrunk_to_a_story_and_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        name = "the segment is flushed after the checkpoint"
        BUGS[name](patch)
        found = search([FOUND_AT[name], *range(1, WITHIN)])
        assert found is not None
        assert found.smallest.violation is not None
        assert len(found.smallest.choices) < len(found.first.choices) / 3
        story = tell(found.smallest)
        assert "before the disk's" in story
        assert story.endswith(f"Broken: {found.smallest.violation}")
        save(found.smallest, tmp_path / "bug.json")
        assert run_universe(*load(tmp_path / "bug.json")).violation == found.smallest.violation
    assert run_universe(*load(tmp_path / "bug.json")).violation is None


def test_a_shrunk_universe_needs_each_of_its_decisions() -> None:
    """On a made-up engine that breaks when three decisions meet."""

    def run(seed: int, choices: Mapping[str, Value]) -> Outcome:
        broken = choices.get("a 1") == "x" and choices.get("b 1") and choices.get("n 1", 0) >= 3
        violation = "document d1 is lost" if broken else None
        return Outcome(seed, violation, dict(choices), [], b"", 0, 0, 0.0)

    many: dict[str, Value] = {f"noise {number}": 1 for number in range(50)}
    first = run(1, {**many, "a 1": "x", "b 1": 2.5, "n 1": 9})
    assert shrink(first, run).choices == {"a 1": "x", "b 1": 2.5, "n 1": 3}
    assert shrink(run(1, many), run).choices == many


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("docs/d1.txt is handed out twice", "docs/d7.txt is handed out twice", True),
        ("commit 7 was promised, and 6 is recovered", "commit 1 was promised, and 0 is recovered",
         True),
        ("docs/d1.txt is handed out twice", "docs/d1.txt is settled twice", False),
    ],
)  # fmt: skip
def test_what_is_the_same_violation(one: str, other: str, is_same: bool) -> None:
    assert (kind_of(one) == kind_of(other)) is is_same


def test_the_fixture_fails_with_the_story(
    monkeypatch: pytest.MonkeyPatch, universes: Callable[..., None]
) -> None:
    BUGS["blocks are numbered from the file"](monkeypatch)
    with pytest.raises(pytest.fail.Exception, match=r"(?s)Universe \d+.*Broken: verify finds"):
        universes(5, seed=1)
