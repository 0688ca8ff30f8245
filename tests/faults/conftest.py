"""Documents whose ids are the same in every run, so that seeded faults meet the same ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lesson15 import BatchProcessor
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
    """Runs a batch under rules; the report, with the last record of each document."""

    async def run(*rules: FaultRule, batch: str = "b", seed: int = 15, **options: Any) -> Any:
        options.setdefault("max_concurrent", 2)
        processor = make(faults=plan(*rules, seed=seed), **options)
        records: dict[str, dict[str, Any]] = {}
        faults: list[dict[str, Any]] = []

        def note(record: dict[str, Any]) -> None:
            if record["t"] == "doc":
                records[record["id"].removeprefix("docs/")] = record
            elif record["t"] == "fault":
                faults.append(record)

        processor.listeners.append(note)
        report = await processor.process_batch(["docs"], batch)
        return report, records, faults

    return run
