"""Documents whose ids are the same in every run, so that seeded faults meet the same ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lesson15 import BatchProcessor
from lesson15.events import DocSettled, Event, FaultInjected
from lesson15.faults import FaultPlan, FaultRule


@pytest.fixture
def here(docs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(docs.parent)
    return docs


def plan(*rules: FaultRule, seed: int = 15) -> FaultPlan:
    return FaultPlan(seed=seed, rules=rules)


def rule(point: str, kind: str, **options: Any) -> FaultRule:
    return FaultRule.model_validate({"point": point, "kind": kind, **options})


Run = Callable[..., Any]


@pytest.fixture
def run(here: Path, make: Callable[..., BatchProcessor]) -> Run:
    """Runs a batch under rules; the report, the last verdict on each document, and the faults."""

    async def run(*rules: FaultRule, batch: str = "b", seed: int = 15, **options: Any) -> Any:
        options.setdefault("max_concurrent", 2)
        processor = make(faults=plan(*rules, seed=seed), **options)
        verdicts: dict[str, DocSettled] = {}
        faults: list[FaultInjected] = []

        def note(event: Event) -> None:
            match event:
                case DocSettled(doc_id=doc_id):
                    verdicts[doc_id.removeprefix("docs/")] = event
                case FaultInjected():
                    faults.append(event)

        processor.listeners.append(note)
        report = await processor.process_batch(["docs"], batch)
        return report, verdicts, faults

    return run
