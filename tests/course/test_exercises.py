"""Every check accepts the right answer and tells each typical wrong one what is wrong with it."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from lesson15.course.exercise import Exercise, call, load_sheet, open_exercises
from lesson15.errors import UsageError

SHEETS = ("start", "concurrency", "checkpointing", "faults", "recovery",
          "progress", "parsing", "api", "scaling", "capstone")  # fmt: skip
CASES = [
    pytest.param(exercise, id=f"{name}-{number}")
    for name in SHEETS
    for number, exercise in enumerate(load_sheet(name).exercises, 1)
]


def run(source: str) -> Any:
    names: dict[str, Any] = {}
    exec(textwrap.dedent(source), names)
    return names["mine"]


@pytest.mark.parametrize("exercise", CASES)
def test_right_answer(exercise: Exercise) -> None:
    assert exercise.judge(run(exercise.answer)) is None


@pytest.mark.parametrize("exercise", CASES)
def test_wrong_answers(exercise: Exercise) -> None:
    assert len(exercise.wrong) >= 2
    for source, words in exercise.wrong.items():
        said = exercise.judge(run(source))
        assert said is not None, f"accepted:\n{source}"
        assert words in said, f"{said!r} for:\n{source}"


@pytest.mark.parametrize("exercise", CASES)
@pytest.mark.parametrize(
    "mine", [42, "text", lambda *_: None, []], ids=["number", "text", "idle function", "list"]
)
def test_nonsense_is_wrong(exercise: Exercise, mine: Any) -> None:
    assert exercise.judge(mine)


def test_helpers(capsys: pytest.CaptureFixture[str]) -> None:
    question, hint, answer, check = open_exercises("recovery")
    question(1)
    hint(1)
    answer(1)
    check(1, None)
    check(1, lambda *_: 0)
    check(1, run(load_sheet("recovery")[1].answer))
    said = capsys.readouterr().out
    for words in ("attempt number", "2 ** (attempt - 1)", "no answer yet", "not yet", ": right."):
        assert words in said
    with pytest.raises(UsageError, match="no exercise 4: give 1 to 3"):
        question(4)


async def test_an_answer_that_hangs_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setattr("lesson15.course.exercise._ANSWER_SECONDS", 0.05)
    with pytest.raises(TimeoutError):
        call(lambda: asyncio.sleep(5))
