"""Exercises of notebook 03: plans, and draws that can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lesson15.course.exercise import Exercise
from lesson15.faults import FaultKind, FaultPlan, FaultPoint

_IMPORT = "from lesson15.faults import FaultPlan, FaultRule\n"


def _check_plan(mine: Any) -> str | None:
    if not isinstance(mine, FaultPlan):
        return f"A FaultPlan is wanted, not a {type(mine).__name__}."
    if mine.seed != 7:
        return f"The seed is {mine.seed}, and 7 was asked for."
    if len(mine.rules) != 1:
        return f"One rule is enough; yours has {len(mine.rules)}."
    rule = mine.rules[0]
    if (rule.point, rule.kind) != (FaultPoint.PARSE, FaultKind.PARSE_ERROR):
        return f"It strikes with {rule.kind.value} at {rule.point.value}."
    if rule.rate != 0.2:
        return f"The rate is {rule.rate}; 20 percent is 0.2."
    if not rule.matches("guides/x.pdf") or rule.matches("guides/x.md"):
        return f"The pattern {rule.documents!r} does not match the PDF files, and them alone."
    return None


def _check_draw(mine: Callable[..., Any]) -> str | None:
    names = [f"doc-{n}" for n in range(2000)]
    first = {name: mine(15, name, 0.3) for name in names}
    again = {name: mine(15, name, 0.3) for name in reversed(names)}
    if first != again:
        return "Asked in another order it answers otherwise: only the arguments may count."
    share = sum(first.values()) / len(names)
    if not 0.24 < share < 0.36:
        return f"With a rate of 0.3 it struck {share:.0%} of 2000 documents."
    if first == {name: mine(16, name, 0.3) for name in names}:
        return "Another seed must strike other documents."
    higher = {name: mine(15, name, 0.6) for name in names}
    if any(first[name] and not higher[name] for name in names):
        return "What fails at a rate of 0.3 must fail at 0.6 too: draw once, then compare."
    return None


def _check_kill(mine: Any) -> str | None:
    if not isinstance(mine, FaultPlan) or len(mine.rules) != 1:
        return "A FaultPlan with one rule is wanted."
    rule = mine.rules[0]
    if rule.kind is not FaultKind.KILL:
        return f"{rule.kind.value} does not end the process as a crash does."
    if rule.point is not FaultPoint.RENAME:
        return f"At the point {rule.point.value} the checkpoint is not being put in place."
    if not rule.matches("checkpoint.json") or rule.matches("manifest.json"):
        return "It must concern checkpoint.json alone: the manifest is renamed into place too."
    if rule.nth != 3:
        return f"nth is {rule.nth}: it is the third time that counts."
    return None


EXERCISES = [
    Exercise(
        question="""
        Make `mine` a FaultPlan with the seed 7 in which 20 percent of the PDF documents fail to
        parse, and nothing else goes wrong.
        """,
        hint="FaultRule(point=..., kind=..., rate=..., documents='*.pdf'); rates go from 0 to 1.",
        answer=_IMPORT
        + """mine = FaultPlan(seed=7, rules=[
    FaultRule(point="parse", kind="parse_error", rate=0.2, documents="*.pdf"),
])""",
        check=_check_plan,
        wrong={
            _IMPORT
            + 'mine = FaultPlan(seed=7, rules=[FaultRule(point="parse", kind="parse_error", '
            'rate=0.02, documents="*.pdf")])': "20 percent",
            _IMPORT
            + 'mine = FaultPlan(seed=7, rules=[FaultRule(point="parse", kind="parse_error", '
            "rate=0.2)])": "the PDF files",
            _IMPORT
            + 'mine = FaultPlan(rules=[FaultRule(point="parse", kind="parse_error", rate=0.2, '
            'documents="*.pdf")])': "seed",
            _IMPORT
            + 'mine = FaultPlan(seed=7, rules=[FaultRule(point="embed", kind="network_timeout", '
            'rate=0.2, documents="*.pdf")])': "network_timeout at embed",
        },
    ),
    Exercise(
        question="""
        Write `mine(seed, doc_id, rate)`: True if a fault strikes this document. The answer must
        hang on the arguments alone, so that a bad run can be repeated, in whatever order the
        documents come; and a document struck at a low rate must be struck at a higher one too.
        """,
        hint="random.Random(f'{seed}:{doc_id}').random() is a number from 0 to 1 made of both.",
        answer="""
        import random

        def mine(seed, doc_id, rate):
            return random.Random(f"{seed}:{doc_id}").random() < rate
        """,
        check=_check_draw,
        wrong={
            """
            import random
            def mine(seed, doc_id, rate):
                return random.random() < rate
            """: "another order",
            """
            import random
            def mine(seed, doc_id, rate):
                return random.Random(seed).random() < rate
            """: "of 2000 documents",
            """
            import random
            def mine(seed, doc_id, rate):
                return random.Random(doc_id).random() < rate
            """: "Another seed",
            """
            import random
            def mine(seed, doc_id, rate):
                return random.Random(f"{seed}:{doc_id}:{rate}").random() < rate
            """: "draw once",
        },
    ),
    Exercise(
        question="""
        Make `mine` a FaultPlan that kills the process at the worst moment: when checkpoint.json
        is about to be renamed into place, the third time that this happens.
        """,
        hint="Point rename, kind kill, documents='checkpoint.json' and nth.",
        answer=_IMPORT
        + """mine = FaultPlan(rules=[
    FaultRule(point="rename", kind="kill", documents="checkpoint.json", nth=3),
])""",
        check=_check_kill,
        wrong={
            _IMPORT + 'mine = FaultPlan(rules=[FaultRule(point="rename", kind="kill", '
            'documents="checkpoint.json")])': "third time",
            _IMPORT
            + 'mine = FaultPlan(rules=[FaultRule(point="rename", kind="kill", nth=3)])': "alone",
            _IMPORT
            + 'mine = FaultPlan(rules=[FaultRule(point="parse", kind="kill")])': "put in place",
            _IMPORT
            + 'mine = FaultPlan(rules=[FaultRule(point="rename", kind="system_error", nth=3, '
            'documents="checkpoint.json")])': "does not end the process",
        },
    ),
]
