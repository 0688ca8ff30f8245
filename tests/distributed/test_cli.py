"""What a user of the command line gets wrong, and what is said about it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lesson15.distributed import DistributedProcessor
from lesson15.distributed.queue import check_celery, make_app, redacted
from lesson15.errors import MissingDependencyError
from tests.distributed.brokers import free_port
from tests.test_cli import lesson15


def test_without_a_broker(docs: Path, state: Path) -> None:
    done = lesson15("run", docs, "--distributed", "--state-dir", state)
    assert done.returncode == 2
    assert "--broker URL or set LESSON15_BROKER_URL" in done.stderr
    assert not state.exists()


def test_with_a_broker_of_another_kind(docs: Path, state: Path) -> None:
    done = lesson15("run", docs, "--distributed", "--broker", "sqs://me:secret@aws")
    assert done.returncode == 2
    assert "sqs://me:***@aws" in done.stderr
    assert "secret" not in done.stderr


def test_a_broker_needs_distributed(docs: Path) -> None:
    done = lesson15("run", docs, "--broker", "redis://localhost")
    assert done.returncode == 2
    assert "--broker needs --distributed" in done.stderr


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_not_there(docs: Path, state: Path, scheme: str) -> None:
    url = f"{scheme}://me:secret@127.0.0.1:{free_port()}/0"
    at = ("--state-dir", state)
    done = lesson15("run", docs, "--distributed", "--broker", url, *at, "--batch-id", "b",
                    "--embedder", "hashing")  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "secret" not in done.stderr
    assert f"{scheme}://me:***@127.0.0.1" in done.stderr
    assert f"lesson15 resume b --state-dir {state}" in done.stderr
    resumed = lesson15("resume", "b", *at)
    assert resumed.returncode == 2
    assert "LESSON15_BROKER_URL" in resumed.stderr
    again = lesson15("resume", "b", *at, LESSON15_BROKER_URL=url)
    assert again.returncode == 3
    worker = lesson15("worker", "--broker", url, *at)
    assert worker.returncode == 3
    assert "cannot be reached" in worker.stderr


def test_without_celery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "celery", None)
    with pytest.raises(MissingDependencyError, match=r"pip install lesson15\[distributed\]"):
        DistributedProcessor("redis://localhost")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:p@ss@localhost", "redis://:***@localhost"),
        ("amqp://u:p:q@h:5672//v", "amqp://u:***@h:5672//v"),
        ("amqp://u@h", "amqp://u@h"),
        ("nonsense", "nonsense"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_deliveries_are_safe() -> None:
    """What the broker and Celery are asked for; the tests with real ones show that it works."""
    for url, queue_type in (("redis://h", "classic"), ("amqp://h", "quorum")):
        conf = make_app(url).conf
        assert conf.task_acks_late
        assert conf.task_reject_on_worker_lost
        assert conf.worker_prefetch_multiplier == 1
        assert conf.task_default_queue_type == queue_type
    assert conf.broker_transport_options["confirm_publish"]


def test_the_command_line_starts_without_celery() -> None:
    code = (
        "import sys, lesson15.cli; print(sorted({'celery', 'kombu', 'redis'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_worker_without_celery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingDependencyError):
        check_celery()
