from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lesson15.errors import FaultPlanError, UsageError
from lesson15.faults import FaultKind, FaultPlan, FaultPoint, FaultRule
from lesson15.faults.points import ALLOWED
from tests.faults.conftest import rule

rules = st.sampled_from(
    [(point, kind) for point in FaultPoint for kind in sorted(ALLOWED[point])]
).flatmap(
    lambda pair: st.builds(
        FaultRule,
        point=st.just(pair[0]),
        kind=st.just(pair[1]),
        rate=st.floats(0, 1),
        documents=st.text(st.characters(codec="utf-8")),
        nth=st.none() | st.integers(1),
        times=st.none() | st.integers(1),
        seconds=st.floats(-1e6 if pair[1] is FaultKind.CLOCK_JUMP else 0, 1e6),
    )
)


# The first text that Hypothesis draws makes its table of characters, which takes its time.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.integers(), st.lists(rules, max_size=4))
def test_a_plan_survives_printing(seed: int, some: list[FaultRule]) -> None:
    plan = FaultPlan(seed=seed, rules=tuple(some))
    assert FaultPlan.from_json(plan.to_json()) == plan


def test_the_form_of_the_brief() -> None:
    one = FaultRule(
        point="parse", kind="parse_error", rate=0.2, documents="*.pdf",
        nth=None, times=None, seconds=0.5,
    )  # fmt: skip
    plan = FaultPlan(seed=15, rules=[one])
    assert plan.rules[0].point is FaultPoint.PARSE
    with pytest.raises(ValidationError):
        plan.seed = 3  # type: ignore[misc]


def test_what_makes_no_sense_is_refused_by_name() -> None:
    for point, kind in itertools.product(FaultPoint, FaultKind):
        if kind in ALLOWED[point]:
            FaultRule(point=point, kind=kind)
            continue
        with pytest.raises(ValidationError) as caught:
            FaultRule(point=point, kind=kind)
        message = str(caught.value)
        assert f"'{kind}'" in message
        assert f"'{point}'" in message
        assert all(allowed in message for allowed in ALLOWED[point])


def test_every_kind_has_a_point() -> None:
    assert set().union(*ALLOWED.values()) == set(FaultKind)


@pytest.mark.parametrize(
    ("document", "pattern", "expected"),
    [
        ("docs/a/x.pdf", "*.pdf", True),
        ("docs/a/x.pdf", "x.pdf", True),
        ("docs/a/x.pdf", "docs/*", True),
        ("docs/a/x.pdf", "*.PDF", False),
        ("docs/a/x.pdf", "a", False),
    ],
)
def test_documents_are_globs(document: str, pattern: str, expected: bool) -> None:
    assert rule("read", "delay", documents=pattern).matches(document) is expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "Invalid JSON"),
        ('{"sed": 1}', "sed: Extra inputs"),
        ('{"rules": [{"point": "rename", "kind": "bit_flip"}]}', "makes no sense"),
        ('{"rules": [{"point": "parse"}]}', "rules.0.kind: Field required"),
        ('{"rules": [{"point": "parse", "kind": "hang", "rate": 2}]}', "rules.0.rate"),
        ('{"rules": [{"point": "parse", "kind": "delay", "seconds": NaN}]}', "seconds"),
        ('{"rules": [{"point": "parse", "kind": "delay", "seconds": -1.0}]}', "seconds"),
    ],
)
def test_a_bad_plan_is_named(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(FaultPlanError) as caught:
        FaultPlan.load(path)
    assert part in str(caught.value)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, UsageError)
    with pytest.raises(FaultPlanError, match="No such file"):
        FaultPlan.load(tmp_path / "absent.json")
