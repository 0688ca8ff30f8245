"""Four real workers on real brokers, which are killed, stopped and restarted.

`benchmarks/soak_distributed.py` does the same fifty times over.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lesson15 import BatchProcessor, CheckpointManager
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.settings import Settings
from tests.crash import oracle
from tests.distributed.brokers import BROKERS, Broker, program, wait_until
from tests.distributed.cluster import (
    INTERVAL,
    MAX_CONCURRENT,
    ROOT,
    Chaos,
    Cluster,
    make_documents,
    mismatches,
    run_batch,
)

WORKERS = 4
LEASE_SECONDS = 4.0
RUNS = [
    ["kill_worker", "restart_broker", "freeze"],
    ["restart_broker", "kill_child", "kill_worker", "kill_worker"],
]


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_documents(tmp_path_factory.mktemp("distributed") / "docs", 120)


@pytest.fixture(scope="module")
def expected(docs: Path) -> oracle.Content:
    return oracle.sequential(docs, "hashing")


@pytest.fixture(scope="module", params=BROKERS)
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    if program(request.param) is None:
        message = f"no {request.param} server here: apt-get install redis-server rabbitmq-server"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp(request.param)
    broker = Broker(request.param, folder / "broker")
    broker.start()
    cluster = Cluster(broker, folder, delay=0.35)
    try:
        for _ in range(WORKERS):
            cluster.start_worker()
        cluster.wait_until_ready()
        yield cluster
    finally:
        cluster.close()
        broker.close()


@pytest.mark.parametrize("faults", RUNS, ids="+".join)
def test_random_kills_and_a_restart_of_the_broker(
    cluster: Cluster, docs: Path, expected: oracle.Content, faults: list[str]
) -> None:
    dice = random.Random(len(faults))
    chaos = Chaos(cluster, dice, faults, LEASE_SECONDS)
    batch_id = f"chaos{len(faults)}"
    run = run_batch(cluster, docs, batch_id, expected, chaos, lambda: dice.uniform(0.5, 2))
    assert run.mismatches == []
    assert (run.report["processed_docs"], run.report["failed_docs"]) == (120, 2)
    assert run.report["status"] == "finished"
    assert max(run.takeovers, default=0) < 30
    lost = run.shards["lapsed"] + run.shards["stolen"]
    assert run.redone <= lost * (INTERVAL + MAX_CONCURRENT)
    print(run)


def test_as_on_one_machine(
    cluster: Cluster, docs: Path, expected: oracle.Content, tmp_path: Path
) -> None:
    """The local engine leaves the same index, and its commands work on a distributed batch."""
    import asyncio

    local = BatchProcessor(state_dir=tmp_path, embedder="hashing", settings=Settings(retry_delay=0))
    asyncio.run(local.process_batch([docs], "b"))
    assert oracle.indexed(tmp_path, "b") == expected
    report = asyncio.run(cluster.processor().process_batch([docs], "plain"))
    assert not mismatches(cluster.state, "plain", expected)
    own = BatchProcessor(state_dir=cluster.state, settings=Settings(retry_delay=0))
    again = asyncio.run(own.resume_batch("plain"))
    assert again.pop("run")["new"] == report.pop("run")["updated"] == 0
    assert again == report
    retried = asyncio.run(own.retry_failed("plain"))
    assert (retried["processed_docs"], retried["failed_docs"]) == (120, 2)


def run_command(cluster: Cluster, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lesson15.cli", *map(str, arguments), "--broker",
         cluster.broker.url, "--state-dir", str(cluster.state), "--json"],
        cwd=ROOT,
        env={**os.environ, "LESSON15_LEASE_SECONDS": str(LEASE_SECONDS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_coordinator_is_stopped_and_resumed(
    cluster: Cluster, docs: Path, expected: oracle.Content, number: signal.Signals
) -> None:
    batch_id = f"coordinator{number}"
    limits = ("--max-concurrent", MAX_CONCURRENT, "--checkpoint-interval", INTERVAL)
    begun = run_command(
        cluster, "run", docs, "--distributed", "--batch-id", batch_id, "--embedder", "hashing",
        *limits,
    )  # fmt: skip
    manager = CheckpointManager(cluster.state)

    def has_merged() -> bool:
        found = manager.try_open(batch_id)  # an error while it is being made
        return isinstance(found, StoredBatch) and found.state.settled_docs > 10

    wait_until(has_merged, 30)
    begun.send_signal(number)
    output, _ = begun.communicate(timeout=400)
    if number == signal.SIGINT:
        assert begun.returncode == 3
        report: dict[str, Any] = json.loads(output)
        assert report["status"] == "cancelled"
    resumed = run_command(cluster, "resume", batch_id, *limits)
    output, errors = resumed.communicate(timeout=400)
    assert resumed.returncode == 1, errors
    report = json.loads(output)
    assert (report["status"], report["processed_docs"], report["failed_docs"]) == (
        "finished", 120, 2
    )  # fmt: skip
    assert mismatches(cluster.state, batch_id, expected) == []
    assert not manager.folder(batch_id).shards.exists()


def test_a_worker_stops_when_asked_and_leaves_no_process(cluster: Cluster) -> None:
    worker = cluster.start_worker()
    process = psutil.Process(worker.pid)
    wait_until(lambda: bool(process.children()), 20)
    time.sleep(1)
    family = [process, *process.children(recursive=True)]
    worker.terminate()
    worker.wait(20)
    cluster.workers.remove(worker)
    _, alive = psutil.wait_procs(family, timeout=75)
    assert alive == []
