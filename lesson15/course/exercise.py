"""Exercises: question, hint, answer and check of each in one place, and all of them tested."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from inspect import cleandoc
from typing import Any, NamedTuple

from lesson15.engine.facade import run_sync
from lesson15.errors import UsageError

_ANSWER_SECONDS = 20
Check = Callable[[Any], str | None]


@dataclass(frozen=True, slots=True)
class Exercise:
    """One exercise.

    ``answer`` is Python that sets ``mine``, as a student would. ``check`` takes ``mine`` and
    returns None if it is right, and else what is wrong with it. ``wrong`` holds typical wrong
    answers, each with words that the check must say to it; the tests hold the check to both.
    """

    question: str
    hint: str
    answer: str
    check: Check
    wrong: dict[str, str] = field(default_factory=dict)

    def judge(self, mine: Any) -> str | None:
        """What is wrong with ``mine``, None if nothing is; an answer that raises is wrong."""
        try:
            return self.check(mine)
        except Exception as error:  # noqa: BLE001 - whatever a student's code may raise
            return f"Your answer raised {type(error).__name__}: {error}"


class ExerciseSheet:
    """The exercises of one notebook, numbered from 1."""

    def __init__(self, exercises: list[Exercise]) -> None:
        self.exercises = exercises

    def __getitem__(self, number: int) -> Exercise:
        if not 1 <= number <= len(self.exercises):
            raise UsageError(
                problem=f"There is no exercise {number}: give 1 to {len(self.exercises)}."
            )
        return self.exercises[number - 1]

    def question(self, number: int) -> None:
        """Print the question."""
        print(f"Exercise {number}\n\n{cleandoc(self[number].question)}")

    def hint(self, number: int) -> None:
        """Print the hint."""
        print(cleandoc(self[number].hint))

    def answer(self, number: int) -> None:
        """Print a right answer."""
        print(cleandoc(self[number].answer))

    def check(self, number: int, mine: Any) -> None:
        """Print whether ``mine`` is right, and if not, why."""
        exercise = self[number]
        if mine is None:
            print(f"Exercise {number}: no answer yet. hint({number}) helps, then answer({number}).")
            return
        fault = exercise.judge(mine)
        print(f"Exercise {number}: " + ("right." if fault is None else f"not yet. {fault}"))


class Helpers(NamedTuple):
    """What a notebook calls."""

    question: Callable[[int], None]
    hint: Callable[[int], None]
    answer: Callable[[int], None]
    check: Callable[[int, Any], None]


def load_sheet(name: str) -> ExerciseSheet:
    """The sheet of the module ``lesson15.course.exercises.<name>``."""
    return ExerciseSheet(import_module(f"lesson15.course.exercises.{name}").EXERCISES)


def open_exercises(name: str) -> Helpers:
    """The helpers of one notebook's exercises.

    Example:
        >>> question, hint, answer, check = open_exercises("concurrency")
        >>> question(1)
    """
    sheet = load_sheet(name)
    return Helpers(sheet.question, sheet.hint, sheet.answer, sheet.check)


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of a student's function, awaited if it is asynchronous.

    Raises:
        TimeoutError: it took longer than 20 seconds.
        TypeError: it is not a function.
    """
    if not callable(function):
        raise TypeError(f"a function is wanted, not {function!r}")
    result = function(*args, **kwargs)
    if not inspect.isawaitable(result):
        return result

    async def within_time() -> Any:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await result

    return run_sync(within_time())
