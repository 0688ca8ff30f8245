"""What Prometheus reads, and that dashboard and alerts name nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from lesson15.api.keys import Role
from tests.service.conftest import ROOT, Client, Running

MONITORING = ROOT / "deploy" / "monitoring"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def text(server: Running, alice: Client, shared: Path) -> str:
    alice.process(shared, batch_id="measured")
    alice.wait("measured")
    answer = server.client("prometheus", Role.INSTRUCTOR).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


@pytest.fixture(scope="module")
def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_the_metrics_of_a_batch(samples: Samples) -> None:
    assert value(samples, "lesson15_documents_total", status="done") == 8
    assert value(samples, "lesson15_documents_total", status="failed") == 2
    assert value(samples, "lesson15_document_seconds_count") == 10
    assert value(samples, "lesson15_document_seconds_bucket", le="+Inf") == 10
    assert 0 < value(samples, "lesson15_document_seconds_sum") < 600
    for kind in ("EmptyDocumentError", "MalformedDocumentError"):
        assert value(samples, "lesson15_document_errors_total", type=kind) == 1
    assert value(samples, "lesson15_batches", state="finished") == 1
    assert value(samples, "lesson15_batches_ended_total", state="finished") == 1
    count = value(
        samples, "lesson15_request_seconds_count",
        method="POST", route="/batch/process", code="200",
    )  # fmt: skip
    assert count == 1


def test_the_metrics_of_the_machine(samples: Samples) -> None:
    assert 0 <= value(samples, "lesson15_cpu_ratio") <= 1
    total = value(samples, "lesson15_memory_total_bytes")
    assert 0 < value(samples, "lesson15_process_memory_bytes") < total
    assert 0 < value(samples, "lesson15_memory_available_bytes") < total
    disk = value(samples, "lesson15_disk_total_bytes")
    assert 0 < value(samples, "lesson15_disk_free_bytes") <= disk


def expressions() -> list[str]:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert {"alert", "expr", "labels", "annotations"} <= rule.keys()
            found.append(rule["expr"])
    return found


def test_dashboard_and_alerts_name_metrics_that_exist(samples: Samples) -> None:
    known: dict[str, set[tuple[str, str]]] = {}
    for name, labels in samples:
        known.setdefault(name, set()).update(labels)
    named = 0
    for expression in expressions():
        assert expression.count("(") == expression.count(")")
        for name, braces in re.findall(r"(lesson15_\w+)(?:\{([^}]*)\})?", expression):
            named += 1
            assert name in known, f"{name} in {expression}"
            for label, operator, wanted in re.findall(r'(\w+)(=~?)"([^"]*)"', braces):
                for one in wanted.split("|") if operator == "=~" else [wanted]:
                    assert (label, one) in known[name], f"{label}={one} in {expression}"
        for label in re.findall(r"by \(([^)]*)\)", expression):
            for one in label.split(", "):
                assert any(one == key for pairs in known.values() for key, _ in pairs), expression
    assert named >= 20


def test_the_scrape_configuration_is_yaml() -> None:
    content: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert content["rule_files"] == ["alerts.yml"]
    assert (MONITORING / "alerts.yml").exists()
