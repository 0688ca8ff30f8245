"""Exercises of notebook 04: waits, jitter and the policy table."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from lesson15.course.exercise import Exercise


def _check_waits(mine: Callable[..., Any]) -> str | None:
    for attempt, wanted in [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (6, 10.0), (50, 10.0)]:
        found = mine(attempt, 0.5, 10.0)
        if abs(found - wanted) > 1e-9:
            reason = (
                "never more than the cap" if wanted == 10 else "each wait doubles the one before"
            )
            return (
                f"After attempt {attempt} the wait is {wanted} s, and you give {found}: {reason}."
            )
    return None


def _check_jitter(mine: Callable[..., Any]) -> str | None:
    rng = random.Random(15)  # noqa: S311 - an exercise, not cryptography
    for attempt, top in [(1, 0.5), (3, 2.0), (20, 10.0)]:
        waits = [mine(attempt, 0.5, 10.0, rng) for _ in range(500)]
        if max(waits) > top + 1e-9 or min(waits) < 0:
            return (
                f"After attempt {attempt} waits lie between 0 and {top} s; yours go to "
                f"{max(waits):.2f}."
            )
        if len(set(waits)) < 400:
            return "All clients wait equally long and come back together: draw each wait anew."
        if max(waits) < 0.9 * top or min(waits) > 0.1 * top:
            return (
                f"The waits only spread from {min(waits):.2f} to {max(waits):.2f} s: use the whole "
                f"range from 0 to {top}."
            )
    return None


def _check_policy(mine: Callable[..., Any]) -> str | None:
    cases: list[tuple[Exception, str]] = [
        (TimeoutError("slow"), "retry"),
        (ConnectionError("reset"), "retry"),
        (MemoryError(), "retry"),
        (FileNotFoundError("gone"), "skip"),
        (ValueError("not JSON"), "dead letter"),
        (OSError(28, "No space left on device"), "abort"),
        (PermissionError("checkpoint"), "abort"),
    ]
    for error, wanted in cases:
        found = mine(error)
        if found != wanted:
            return (
                f"{type(error).__name__} is {wanted!r}, and you give {found!r}. (TimeoutError, "
                "ConnectionError and FileNotFoundError are OSErrors too.)"
            )
    return None


EXERCISES = [
    Exercise(
        question="""
        Write `mine(attempt, base, cap)`: the seconds to wait after the failed attempt number
        `attempt` (from 1). The first wait is `base`, each later one is twice as long, and none
        is longer than `cap`.
        """,
        hint="base * 2 ** (attempt - 1), and min.",
        answer="""
        def mine(attempt, base, cap):
            return min(cap, base * 2 ** (attempt - 1))
        """,
        check=_check_waits,
        wrong={
            "def mine(attempt, base, cap): return min(cap, base * attempt)": "doubles",
            "def mine(attempt, base, cap): return base * 2 ** (attempt - 1)": "the cap",
            "def mine(attempt, base, cap): return min(cap, base * 2 ** attempt)": "attempt 1",
            "def mine(attempt, base, cap): return min(cap, base ** attempt)": "doubles",
        },
    ),
    Exercise(
        question="""
        A hundred clients failed at the same instant. Write `mine(attempt, base, cap, rng)` with
        full jitter: a wait drawn evenly from 0 to the exponential wait of exercise 1. `rng` is a
        random.Random.
        """,
        hint="rng.uniform(0, longest)",
        answer="""
        def mine(attempt, base, cap, rng):
            return rng.uniform(0, min(cap, base * 2 ** (attempt - 1)))
        """,
        check=_check_jitter,
        wrong={
            "def mine(attempt, base, cap, rng):\n"
            "    return min(cap, base * 2 ** (attempt - 1))": "together",
            "def mine(attempt, base, cap, rng):\n"
            "    longest = min(cap, base * 2 ** (attempt - 1))\n"
            "    return longest * rng.uniform(0.9, 1.1)": "between 0 and",
            "def mine(attempt, base, cap, rng):\n"
            "    return min(cap, base * 2 ** (attempt - 1)) * rng.uniform(0.5, 1)": "whole range",
        },
    ),
    Exercise(
        question="""
        Write `mine(error)`: what the policy table does with an exception of a document's work.
        "retry" for timeouts, lost connections and lack of memory, "skip" for a file that is not
        there, "abort" for any other fault of the operating system (OSError), "dead letter" for
        everything else.
        """,
        hint="isinstance, the special kinds before the general one.",
        answer="""
        def mine(error):
            if isinstance(error, (TimeoutError, ConnectionError, MemoryError)):
                return "retry"
            if isinstance(error, FileNotFoundError):
                return "skip"
            if isinstance(error, OSError):
                return "abort"
            return "dead letter"
        """,
        check=_check_policy,
        wrong={
            """
            def mine(error):
                if isinstance(error, OSError):
                    return "abort"
                if isinstance(error, (TimeoutError, ConnectionError, MemoryError)):
                    return "retry"
                return "skip" if isinstance(error, FileNotFoundError) else "dead letter"
            """: "OSErrors too",
            """
            def mine(error):
                if isinstance(error, (TimeoutError, ConnectionError, MemoryError)):
                    return "retry"
                return "skip" if isinstance(error, FileNotFoundError) else "dead letter"
            """: "'abort'",
            "def mine(error): return 'retry'": "'skip'",
        },
    ),
]
