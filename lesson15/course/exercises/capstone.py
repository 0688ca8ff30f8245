"""Exercises of notebook 09: reading what a batch went through from its journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lesson15.course.exercise import Exercise

_RECORDS: list[dict[str, Any]] = [
    {"t": "run", "at": 1.0},
    {"t": "doc", "id": "a", "s": "done"},
    {"t": "doc", "id": "b", "s": "failed"},
    {"t": "run", "at": 5.0},  # killed before
    {"t": "doc", "id": "c", "s": "failed"},
    {"t": "pause", "at": 6.0},
    {"t": "unpause", "at": 7.0},
    {"t": "end", "status": "cancelled"},
    {"t": "run", "at": 9.0},
    {"t": "doc", "id": "d", "s": "done"},
    {"t": "run", "at": 12.0},  # killed before
    {"t": "doc", "id": "e", "s": "done"},
    {"t": "end", "status": "finished"},
    {"t": "run", "at": 20.0},
    {"t": "doc", "id": "b", "s": "done", "was": "failed", "was_n": 0},
    {"t": "doc", "id": "c", "s": "failed", "was": "failed", "was_n": 0},
    {"t": "doc", "id": "a", "s": "done", "was": "done", "was_n": 1},
    {"t": "end", "status": "finished"},
]


def _check_kills(mine: Callable[..., Any]) -> str | None:
    found = mine(_RECORDS)
    if found == 5:
        return "Every run begins with `run`, the first and those after a clean end too."
    if found == 4:
        return "A run that ended cleanly (`end`) was not killed, even if another followed."
    if found != 2:
        return f"Two runs have no `end` before the next `run`; you give {found}."
    if mine(_RECORDS[:3]) != 1:
        return "A journal that ends without `end` tells of a kill as well."
    return None if mine([]) == 0 else "An empty journal tells of no kill."


def _check_recovered(mine: Callable[..., Any]) -> str | None:
    found = set(mine(_RECORDS))
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
        A run writes `{"t": "run"}` when it begins and `{"t": "end"}` when it ends by itself; a
        killed one writes no end. Write `mine(records)`: how many runs in this journal were
        killed? (Suppose that none is going on now.)
        """,
        hint="Walk through it with a flag: a `run` while the flag is up means that one was killed.",
        answer="""
        def mine(records):
            kills, is_open = 0, False
            for record in records:
                if record["t"] == "run":
                    kills += is_open
                    is_open = True
                elif record["t"] == "end":
                    is_open = False
            return kills + is_open
        """,
        check=_check_kills,
        wrong={
            "def mine(records): return sum(r['t'] == 'run' for r in records)": "Every run begins",
            "def mine(records):\n"
            "    return max(0, sum(r['t'] == 'run' for r in records) - 1)": "ended cleanly",
            """
            def mine(records):
                kinds = [r["t"] for r in records if r["t"] in ("run", "end")]
                return sum(a == b == "run" for a, b in zip(kinds, kinds[1:]))
            """: "without `end`",
        },
    ),
    Exercise(
        question="""
        A `doc` record has `id`, `s` (done, failed or skipped) and, if the document had a verdict
        before, `was`. Write `mine(records)`: the set of documents that failed first and were
        done in the end.
        """,
        hint="s == 'done' and was == 'failed'; record.get('was') for records without it.",
        answer="""
        def mine(records):
            return {
                r["id"] for r in records
                if r["t"] == "doc" and r["s"] == "done" and r.get("was") == "failed"
            }
        """,
        check=_check_recovered,
        wrong={
            "def mine(records):\n"
            "    return {r['id'] for r in records if r.get('s') == 'done'}": "all that are done",
            "def mine(records): return {r['id'] for r in records if 'was' in r}": "never failed",
            "def mine(records):\n"
            "    return {r['id'] for r in records if r.get('was') == 'failed'}": "failed again",
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
