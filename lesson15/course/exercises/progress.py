"""Exercises of notebook 05: estimates, recent rates and updates that do not flood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lesson15.course.exercise import Exercise


def _check_eta(mine: Callable[..., Any]) -> str | None:
    if abs(mine(20, 100, 10.0) - 40.0) > 1e-9:
        return f"20 of 100 in 10 s leaves 40 s, and you give {mine(20, 100, 10.0)}."
    if mine(100, 100, 50.0) != 0:
        return "When all is done, 0 seconds are left."
    try:
        unknown = mine(0, 100, 3.0)
    except ZeroDivisionError:
        return "Before the first document there is no rate to go by: return None."
    return None if unknown is None else "Before the first document nothing can be said: None."


def _check_rate(mine: Callable[..., Any]) -> str | None:
    samples = [(0.0, 0), (10.0, 1000), (20.0, 1100), (30.0, 1200)]
    found = mine(samples, 20.0)
    if abs(found - 1200 / 30) < 1e-6:
        return "That is the average of the whole run; the fast start is long past."
    if abs(found - 10.0) > 1e-6:
        return f"From second 10 to second 30, 200 documents: 10.0 a second. You give {found}."
    if mine([(0.0, 0)], 20.0) != 0:
        return "With a single sample there is no rate yet: 0."
    return None


def _check_throttle(mine: Callable[..., Any]) -> str | None:
    now = 0.0
    calls: list[int] = []
    gentle = mine(calls.append, 1.0, lambda: now)
    for tenth in range(35):
        now = tenth / 10
        gentle(tenth)
    if not calls or calls[0] != 0:
        return "The first call must go through at once."
    if calls != [0, 10, 20, 30]:
        return (
            "Ten calls a second, one second between two that go through: 0, 10, 20, 30; "
            f"yours: {calls[:6]}."
        )
    return None


EXERCISES = [
    Exercise(
        question="""
        Write `mine(done, total, seconds)`: the seconds that are left if it goes on as it went.
        None while nothing can be said; 0 when all is done.
        """,
        hint="rate = done / seconds. How many are left?",
        answer="""
        def mine(done, total, seconds):
            if done == 0:
                return None
            return (total - done) / (done / seconds)
        """,
        check=_check_eta,
        wrong={
            "def mine(done, total, seconds): return (total - done) / (done / seconds)": "no rate",
            "def mine(done, total, seconds):\n"
            "    return total / (done / seconds) if done else None": "leaves 40",
            "def mine(done, total, seconds):\n"
            "    return (total - done) * seconds / done if done else 0": "None",
        },
    ),
    Exercise(
        question="""
        `samples` is a list of (time, documents done so far), oldest first. Write
        `mine(samples, window)`: documents a second over the last `window` seconds before the
        newest sample. 0 if there is only one sample.
        """,
        hint="Find the oldest sample that is no more than `window` seconds before the newest.",
        answer="""
        def mine(samples, window):
            last_time, last_count = samples[-1]
            recent = [s for s in samples if last_time - s[0] <= window]
            first_time, first_count = recent[0]
            if last_time == first_time:
                return 0.0
            return (last_count - first_count) / (last_time - first_time)
        """,
        check=_check_rate,
        wrong={
            """
            def mine(samples, window):
                (t0, n0), (t1, n1) = samples[0], samples[-1]
                return (n1 - n0) / (t1 - t0) if t1 > t0 else 0
            """: "whole run",
            """
            def mine(samples, window):
                return samples[-1][1] / window
            """: "10.0 a second",
        },
    ),
    Exercise(
        question="""
        A callback that redraws a page must not run a thousand times a second. Write
        `mine(func, seconds, clock)`: it returns a function that passes its argument on to
        `func`, but only if `seconds` have gone by since it last did. `clock()` tells the time.
        """,
        hint="Keep the time of the last call that went through: `nonlocal last`, None at first.",
        answer="""
        def mine(func, seconds, clock):
            last = None

            def gentle(value):
                nonlocal last
                now = clock()
                if last is None or now - last >= seconds:
                    last = now
                    func(value)

            return gentle
        """,
        check=_check_throttle,
        wrong={
            "def mine(func, seconds, clock): return func": "Ten calls a second",
            """
            def mine(func, seconds, clock):
                last = clock()
                def gentle(value):
                    nonlocal last
                    if clock() - last >= seconds:
                        last = clock()
                        func(value)
                return gentle
            """: "first call",
            """
            def mine(func, seconds, clock):
                last = None
                def gentle(value):
                    nonlocal last
                    now = clock()
                    if last is None or now - last >= seconds:
                        func(value)
                    last = now
                return gentle
            """: "yours: [0]",
        },
    ),
]
