"""Exercises of notebook 09: reading what a batch went through from its journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lesson15.course.exercise import Exercise
from lesson15.events import DocSettled, Event, Paused, RunEnded, RunStarted, Unpaused
from lesson15.models import BatchStatus, DocStatus

_DONE, _FAILED = DocStatus.DONE, DocStatus.FAILED


def _again(doc_id: str, status: DocStatus, previous: DocStatus) -> DocSettled:
    return DocSettled(doc_id=doc_id, status=status, previous_status=previous)


_EVENTS: list[Event] = [
    RunStarted(at=1.0),
    DocSettled(doc_id="a", status=_DONE),
    DocSettled(doc_id="b", status=_FAILED),
    RunStarted(at=5.0),  # killed before
    DocSettled(doc_id="c", status=_FAILED),
    Paused(at=6.0),
    Unpaused(at=7.0),
    RunEnded(BatchStatus.CANCELLED, 3.0),
    RunStarted(at=9.0),
    DocSettled(doc_id="d", status=_DONE),
    RunStarted(at=12.0),  # killed before
    DocSettled(doc_id="e", status=_DONE),
    RunEnded(BatchStatus.FINISHED, 2.0),
    RunStarted(at=20.0),
    _again("b", _DONE, _FAILED),
    _again("c", _FAILED, _FAILED),
    _again("a", _DONE, _DONE),
    RunEnded(BatchStatus.FINISHED, 1.0),
]


def _check_kills(mine: Callable[..., Any]) -> str | None:
    found = mine(_EVENTS)
    if found == 5:
        return "Every run begins with `RunStarted`, the first and those after a clean end too."
    if found == 4:
        return "A run that ended cleanly (`RunEnded`) was not killed, even if another followed."
    if found != 2:
        return f"Two runs have no `RunEnded` before the next `RunStarted`; you give {found}."
    if mine(_EVENTS[:3]) != 1:
        return "A journal that ends without `RunEnded` tells of a kill as well."
    return None if mine([]) == 0 else "An empty journal tells of no kill."


def _check_recovered(mine: Callable[..., Any]) -> str | None:
    found = set(mine(_EVENTS))
    if found == {"a", "b", "d", "e"}:
        return "These are all that are done; those that failed before are wanted."
    if "a" in found:
        return "`a` was done before and done again, because its file changed: it never failed."
    if "c" in found:
        return "`c` failed again: it did not recover."
    return None if found == {"b"} else f"{{'b'}} is wanted, and you give {found}."


def _check_interval(mine: Callable[..., Any]) -> str | None:
    for doc, commit, between, wanted in [(0.1, 0.02, 3600, 120), (1.0, 0.5, 400, 20)]:
        found = mine(doc, commit, between)
        if abs(found - wanted * doc) < 0.5 and doc != 1.0:
            return "That is in seconds; how many documents is it?"
        if abs(found - wanted) > 1:
            return (
                f"For {doc} s a document, {commit} s a checkpoint and a crash every {between} s "
                f"it is {wanted} documents, and you give {found:.4g}."
            )
    return None


EXERCISES = [
    Exercise(
        question="""
        The classes of `lesson15.events` say what can happen. A run records `RunStarted` when it
        begins and `RunEnded` when it ends by itself; a killed one records no end. Write
        `mine(events)`: how many runs in this journal were killed? (Suppose that none is going
        on now.)
        """,
        hint="Walk through it with a flag: a `RunStarted` while it is up means a kill.",
        answer="""
        from lesson15.events import RunEnded, RunStarted

        def mine(events):
            kills, is_open = 0, False
            for event in events:
                match event:
                    case RunStarted():
                        kills += is_open
                        is_open = True
                    case RunEnded():
                        is_open = False
            return kills + is_open
        """,
        check=_check_kills,
        wrong={
            "def mine(events): return sum(e.kind == 'run' for e in events)": "Every run begins",
            "def mine(events):\n"
            "    return max(0, sum(e.kind == 'run' for e in events) - 1)": "ended cleanly",
            """
            def mine(events):
                kinds = [e.kind for e in events if e.kind in ("run", "end")]
                return sum(a == b == "run" for a, b in zip(kinds, kinds[1:]))
            """: "without `RunEnded`",
        },
    ),
    Exercise(
        question="""
        A `DocSettled` has a `doc_id`, a `status` (done, failed or skipped) and, if the document
        had a verdict before, a `previous_status`. Write `mine(events)`: the set of documents that
        failed first and were done in the end.
        """,
        hint="`case DocSettled(status=DocStatus.DONE, previous_status=DocStatus.FAILED)`",
        answer="""
        from lesson15.events import DocSettled
        from lesson15.models import DocStatus

        def mine(events):
            found = set()
            for event in events:
                match event:
                    case DocSettled(status=DocStatus.DONE, previous_status=DocStatus.FAILED):
                        found.add(event.doc_id)
            return found
        """,
        check=_check_recovered,
        wrong={
            "def mine(events):\n"
            "    return {e.doc_id for e in events\n"
            "            if e.kind == 'doc' and e.status == 'done'}": "all that are done",
            "def mine(events):\n"
            "    return {e.doc_id for e in events\n"
            "            if e.kind == 'doc' and e.previous_status}": "never failed",
            "def mine(events):\n"
            "    return {e.doc_id for e in events\n"
            "            if e.kind == 'doc' and e.previous_status == 'failed'}": "failed again",
        },
    ),
    Exercise(
        question="""
        Checkpoints cost time, and so does doing work again after a crash. Young's formula (1974)
        gives the best time between two checkpoints: the square root of 2 x (seconds that a
        checkpoint takes) x (seconds between two crashes). Write
        `mine(doc_seconds, checkpoint_seconds, crash_seconds)`: the best checkpoint_interval, in
        documents.
        """,
        hint="First the time by the formula, then how many documents are done in it.",
        answer="""
        import math

        def mine(doc_seconds, checkpoint_seconds, crash_seconds):
            return math.sqrt(2 * checkpoint_seconds * crash_seconds) / doc_seconds
        """,
        check=_check_interval,
        wrong={
            "import math\ndef mine(d, c, m): return math.sqrt(2 * c * m)": "in seconds",
            "def mine(d, c, m): return 2 * c * m / d": "120 documents",
            "import math\ndef mine(d, c, m): return math.sqrt(c * m) / d": "120 documents",
        },
    ),
]
