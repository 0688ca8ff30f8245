"""A broker and real worker processes, and what can happen to them while a batch runs."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from lesson15.distributed import DistributedProcessor
from lesson15.engine.verify import verify
from lesson15.settings import Settings
from tests.crash import oracle
from tests.distributed.brokers import Broker, wait_until

ROOT = Path(__file__).parents[2]
MAX_CONCURRENT = 2
INTERVAL = 5


def make_documents(folder: Path, count: int) -> Path:
    """Good documents of very different sizes, and two bad ones."""
    folder.mkdir(parents=True)
    for number in range(count):
        text = f"Document {number} tells of subject {number * 7919 % 1000}. " * (number % 40 + 1)
        (folder / f"d{number:03}.txt").write_text(text, encoding="utf-8")
    (folder / "d010-empty.txt").touch()
    (folder / "d050-broken.json").write_text('{"a": [1, }', encoding="utf-8")
    return folder


class Cluster:
    """Workers on one broker and one state folder."""

    def __init__(self, broker: Broker, folder: Path, delay: float) -> None:
        self.broker = broker
        self.state = folder / "state"
        self.log = folder / "begun.log"
        self.output = folder / "workers.log"
        self._delay = delay
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_worker(self, delay: float | None = None) -> subprocess.Popen[bytes]:
        self.state.mkdir(parents=True, exist_ok=True)
        arguments = [
            str(delay or self._delay), str(self.log), "--broker", self.broker.url,
            "--state-dir", str(self.state),
        ]  # fmt: skip
        with self.output.open("ab") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", "tests.distributed.slow_worker", *arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "LESSON15_RETRY_DELAY": "0.01"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.workers.append(worker)
        return worker

    def wait_until_ready(self) -> None:
        """Until every worker has found its broker and forked the process that works."""
        for worker in self.workers:
            process = psutil.Process(worker.pid)
            wait_until(lambda process=process: bool(process.children()), 30)

    def signal(self, worker: subprocess.Popen[bytes], number: int) -> None:
        """Send a signal to a worker and all its processes, as if its machine did it."""
        os.killpg(worker.pid, number)
        if number == signal.SIGKILL:
            worker.wait()
            self.workers.remove(worker)

    def kill_child(self, worker: subprocess.Popen[bytes]) -> int | None:
        """SIGKILL the process that does the work, not its Celery parent; its pid."""
        with suppress(psutil.Error):
            for child in psutil.Process(worker.pid).children():
                child.kill()
                return child.pid
        return None

    def close(self) -> None:
        for worker in list(self.workers):
            self.signal(worker, signal.SIGKILL)

    def processor(self, **settings: Any) -> DistributedProcessor:
        return DistributedProcessor(
            self.broker.url,
            MAX_CONCURRENT,
            INTERVAL,
            state_dir=self.state,
            embedder="hashing",
            settings=Settings(**settings),
        )


@dataclass
class Run:
    """What came of one batch."""

    report: dict[str, Any]
    seconds: float
    faults: list[str] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    takeovers: list[float] = field(default_factory=list)
    shards: Counter[str] = field(default_factory=Counter)
    redone: int = 0


class Chaos:
    """Random faults in random order while a batch runs, on workers that have a shard."""

    def __init__(
        self, cluster: Cluster, dice: random.Random, plan: list[str], lease_seconds: float = 10.0
    ) -> None:
        self.lease_seconds = lease_seconds
        self._cluster = cluster
        self._dice = dice
        self._plan = plan
        self._events: list[dict[str, Any]] = []
        self._hits: list[tuple[str, float]] = []  # owners, and when they died or were stopped
        self._stop = threading.Event()
        self.done: list[str] = []

    def see(self, event: dict[str, Any]) -> None:
        self._events.append({**event, "at": time.monotonic()})

    def takeovers(self) -> list[float]:
        """Seconds from a worker's death to another's claim of what was left of its shard."""
        claims = {event["shard"]: event["at"] for event in self._events if event["t"] == "claimed"}
        times = []
        for event in self._events:
            if event["t"] == "closed" and event["reason"] == "lapsed":
                died = self._death_of(event["owner"], before=event["at"])
                claimed = [claims[shard] for shard in event["into"] if shard in claims]
                if died is not None and claimed:
                    times.append(max(claimed) - died)
        return times

    def _death_of(self, owner: str, before: float) -> float | None:
        times = [at for victim, at in self._hits if victim == owner and at < before]
        return max(times, default=None)

    def closed(self) -> Counter[str]:
        return Counter(event["reason"] for event in self._events if event["t"] == "closed")

    def run(self, pause: Callable[[], float]) -> None:
        for fault in self._plan:
            if self._stop.wait(pause()):
                return
            getattr(self, f"_{fault}")()
            self.done.append(fault)

    def end(self) -> None:
        self._stop.set()

    def _pick(self) -> subprocess.Popen[bytes]:
        return self._dice.choice(self._cluster.workers)

    def _note(self, worker: subprocess.Popen[bytes]) -> None:
        host = os.uname().nodename
        for child in psutil.Process(worker.pid).children():
            self._hits.append((f"pid {child.pid} on {host}", time.monotonic()))

    def _kill_worker(self) -> None:
        worker = self._pick()
        self._note(worker)
        self._cluster.signal(worker, signal.SIGKILL)
        self._cluster.start_worker()
        self._cluster.wait_until_ready()

    def _kill_child(self) -> None:
        worker = self._pick()
        self._note(worker)
        self._cluster.kill_child(worker)

    def _freeze(self) -> None:
        """SIGSTOP until well after the lease has lapsed, then SIGCONT: a zombie awakes."""
        worker = self._pick()
        self._note(worker)
        self._cluster.signal(worker, signal.SIGSTOP)
        self._stop.wait(1.3 * self.lease_seconds)
        with suppress(ProcessLookupError):
            self._cluster.signal(worker, signal.SIGCONT)

    def _restart_broker(self) -> None:
        self._cluster.broker.stop()
        self._stop.wait(self._dice.uniform(0, 1))
        self._cluster.broker.start()


def run_batch(
    cluster: Cluster,
    docs: Path,
    batch_id: str,
    expected: oracle.Content,
    chaos: Chaos,
    pause: Callable[[], float],
) -> Run:
    """Run a batch while ``chaos`` does its worst, and compare what comes of it with the oracle."""
    cluster.log.unlink(missing_ok=True)
    cluster.log.touch()
    processor = cluster.processor(lease_seconds=chaos.lease_seconds)
    processor.listeners.append(chaos.see)
    thread = threading.Thread(target=chaos.run, args=(pause,))
    started = time.monotonic()
    thread.start()
    try:
        report = asyncio.run(processor.process_batch([docs], batch_id))
    finally:
        chaos.end()
        thread.join()
    run = Run(report, time.monotonic() - started, chaos.done)
    run.takeovers, run.shards = chaos.takeovers(), chaos.closed()
    begun = Counter(cluster.log.read_text().splitlines())
    run.redone = sum(begun[doc_id] - 1 for doc_id in expected.vectors if begun[doc_id])
    run.mismatches = mismatches(cluster.state, batch_id, expected)
    return run


def mismatches(state: Path, batch_id: str, expected: oracle.Content) -> list[str]:
    """How a batch differs from the oracle: documents lost, double, or with other vectors."""
    result = verify(batch_id, state)
    found = oracle.indexed(state, batch_id)
    different = [
        f"{doc_id}: other vectors"
        for doc_id, vectors in expected.vectors.items()
        if found.vectors.get(doc_id, vectors) != vectors
    ]
    known, wanted = (
        found.vectors.keys() | found.failures,
        expected.vectors.keys() | expected.failures,
    )
    return [
        *result.faults,
        *different,
        *(f"{doc_id}: lost" for doc_id in sorted(wanted - known)),
        *(f"{doc_id}: unexpected" for doc_id in sorted(known - wanted)),
        *(f"{doc_id}: wrong verdict" for doc_id in sorted(found.failures ^ expected.failures)),
    ]
