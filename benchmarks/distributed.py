"""One worker against the local engine, and what it costs to keep shards in shared files.

python benchmarks/distributed.py overhead [--documents 3000] [--embedder hashing] [--broker redis]
python benchmarks/distributed.py state      # claims and commits a second: files, PostgreSQL
python benchmarks/distributed.py stealing   # four workers, one of them ten times slower

`overhead` alternates the two on the same documents and gives the ratio of the medians. Measured is
the call that does the batch, from planning or scanning to the saved index; not measured are the
start of Python, of the broker and of the worker, which has done a small batch before, as the
process with the local engine has. Both find the model loaded; the local engine starts its parser
processes in each batch, the worker has them already.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from lesson15 import BatchProcessor
from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.layout import BatchFolder
from lesson15.checkpoint.state_files import Manifest
from lesson15.distributed import DistributedProcessor
from lesson15.distributed.coordinator import Coordinator
from lesson15.distributed.shards import Lease, Shards
from lesson15.embedding import open_embedder
from tests.distributed.brokers import BROKERS, Broker, free_port, wait_until
from tests.distributed.cluster import Cluster, make_documents

ROOT = Path(__file__).parents[1]
MAX_CONCURRENT, INTERVAL = 10, 10
WORDS = [f"word{number * 7919 % 9973}" for number in range(3000)]


def make_corpus(folder: Path, count: int) -> Path:
    """Text documents of 1 to 20 chunks, 10 on average."""
    folder.mkdir()
    for number in range(count):
        start, size = number * 31 % 1500, 100 * (number % 20 + 1)
        text = " ".join(WORDS[(start + n) % len(WORDS)] for n in range(size))
        (folder / f"{number:06}.txt").write_text(text, encoding="utf-8")
    return folder


def timed(work: Callable[[], Any], expected: int) -> float:
    """Seconds that ``work`` takes; it must process ``expected`` documents."""
    started = time.perf_counter()
    report = work()
    seconds = time.perf_counter() - started
    assert report["processed_docs"] == expected, report
    return seconds


def measure_overhead(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of both, alternating."""
    local_seconds, distributed_seconds = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        docs = make_corpus(folder / "docs", args.documents)
        small = make_corpus(folder / "small", 20)
        broker = Broker(args.broker, folder / "broker")
        broker.start()
        state = folder / "state"
        command = [sys.executable, "-m", "lesson15.cli", "worker", "--broker", broker.url]
        with (folder / "worker.log").open("wb") as log:
            worker = subprocess.Popen(
                [*command, "--state-dir", str(state)], cwd=ROOT, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        embedder = open_embedder(args.embedder)
        local = BatchProcessor(MAX_CONCURRENT, INTERVAL, state_dir=state, embedder=embedder)
        many = DistributedProcessor(
            broker.url, MAX_CONCURRENT, INTERVAL, state_dir=state, embedder=args.embedder
        )

        def run(processor: BatchProcessor | DistributedProcessor, source: Path, batch: str) -> Any:
            report = asyncio.run(processor.process_batch([source], batch))
            shutil.rmtree(state / batch)
            return report

        try:
            for processor in (local, many):
                timed(lambda: run(processor, small, "warm"), 20)  # noqa: B023 - called at once
            for _ in range(args.rounds):
                local_seconds.append(timed(lambda: run(local, docs, "l"), args.documents))
                distributed_seconds.append(timed(lambda: run(many, docs, "d"), args.documents))
        finally:
            worker.terminate()
            worker.wait()
            broker.close()
    ratio = statistics.median(distributed_seconds) / statistics.median(local_seconds)
    return {
        "what": "overhead", "broker": args.broker, "embedder": args.embedder, "workers": 1,
        "documents": args.documents, "rounds": args.rounds,
        "local_seconds": [round(value, 2) for value in local_seconds],
        "distributed_seconds": [round(value, 2) for value in distributed_seconds],
        "ratio": round(ratio, 3),
    }  # fmt: skip


def measure_stealing(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a batch on three workers and a slow one, alternating with and without stealing.

    A document takes 0.2 s, or 2 s on the slow worker; nothing but waiting, so that the number of
    cores does not matter. The best that four such workers could do is ``ideal_seconds``.
    """
    found: dict[str, list[float]] = {"with": [], "without": []}
    steal = Coordinator._steal
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        docs = make_documents(folder / "docs", 320)
        broker = Broker(args.broker, folder / "broker")
        broker.start()
        cluster = Cluster(broker, folder, delay=0.2)
        try:
            for delay in (0.2, 0.2, 0.2, 2.0):
                cluster.start_worker(delay)
            cluster.wait_until_ready()
            for number in range(args.rounds):
                for way, seconds in found.items():
                    idle = lambda _coordinator: None  # noqa: E731 - in place of a method
                    Coordinator._steal = steal if way == "with" else idle  # type: ignore[method-assign]
                    work = cluster.processor().process_batch([docs], f"{way}{number}")
                    seconds.append(timed(lambda: asyncio.run(work), 320))  # noqa: B023
        finally:
            Coordinator._steal = steal  # type: ignore[method-assign]
            cluster.close()
            broker.close()
    rate = 2 * (3 / 0.2 + 1 / 2.0)  # each works on two documents at once
    return {
        "what": "stealing", "documents": 320, "ideal_seconds": round(320 / rate, 1),
        **{f"{way}_seconds": [round(value, 1) for value in found[way]] for way in found},
    }  # fmt: skip


def measure_files(count: int) -> dict[str, Any]:
    """Microseconds to make, claim, renew and close a shard as shared files."""
    with tempfile.TemporaryDirectory() as name:
        shards = Shards(BatchFolder.of(name, "b"), Keyring())
        shards.prepare()
        manifest = Manifest(
            batch_id="b", created_at="2026-01-01T00:00:00Z", base_dir="/", sources=None,
            embedder="hashing", dimensions=256, store="faiss", chunk_chars=800,
            chunk_overlap_chars=80,
        )  # fmt: skip
        ids = [f"{number:06}" for number in range(count)]
        documents = [f"docs/{number:09}.txt" for number in range(1000)]
        lease = Lease("bench")
        steps: dict[str, Callable[[str], object]] = {
            "make": lambda i: shards.create(i, documents, manifest),
            "claim": lambda i: shards.claim(i, "bench"),
            "renew": lambda i: shards.renew(i, lease),
            "close": shards.close,
            "delete": shards.delete,
        }
        return {"what": "state", "in": "files", **_microseconds(steps, ids)}


def measure_postgres(count: int) -> dict[str, Any]:
    """The same as rows of a table, each step a transaction."""
    import psycopg

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        data = folder / "pg"
        data.mkdir()
        if user:
            shutil.chown(data, "postgres", "postgres")
        programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        subprocess.run(
            [*user, programs / "initdb", "-D", data, "-U", "bench", "-A", "trust"],
            check=True, stdout=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        port = free_port()
        server = subprocess.Popen(
            [*user, programs / "postgres", "-D", data, "-p", str(port), "-k", data],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        try:
            address = f"host=127.0.0.1 port={port} user=bench dbname=postgres"

            def answers() -> bool:
                try:
                    psycopg.connect(address).close()
                except psycopg.OperationalError:
                    return False
                return True

            wait_until(answers, 30)
            with psycopg.connect(address, autocommit=True) as db:
                db.execute(
                    "CREATE TABLE shards (id text PRIMARY KEY, documents text, owner text, "
                    "beat int, closed bool DEFAULT false)"
                )
                documents = json.dumps([f"docs/{number:09}.txt" for number in range(1000)])
                steps: dict[str, Callable[[str], object]] = {
                    "make": lambda i: db.execute(
                        "INSERT INTO shards (id, documents) VALUES (%s, %s)", (i, documents)
                    ),
                    "claim": lambda i: db.execute(
                        "UPDATE shards SET owner='bench' WHERE id=%s AND owner IS NULL", (i,)
                    ),
                    "renew": lambda i: db.execute(
                        "UPDATE shards SET beat=1 WHERE id=%s AND NOT closed", (i,)
                    ),
                    "close": lambda i: db.execute(
                        "UPDATE shards SET closed=true WHERE id=%s", (i,)
                    ),
                    "delete": lambda i: db.execute("DELETE FROM shards WHERE id=%s", (i,)),
                }
                ids = [f"{number:06}" for number in range(count)]
                return {"what": "state", "in": "PostgreSQL", **_microseconds(steps, ids)}
        finally:
            server.terminate()
            server.wait()


def _microseconds(steps: dict[str, Callable[[str], object]], ids: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"shards": len(ids)}
    for name, step in steps.items():
        times = []
        for shard_id in ids:
            started = time.perf_counter()
            step(shard_id)
            times.append((time.perf_counter() - started) * 1e6)
        found[f"{name}_us"] = round(statistics.median(times))
    return found


def main() -> None:
    """Parse arguments and print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["overhead", "state", "stealing"])
    parser.add_argument("--documents", type=int, default=3000)
    parser.add_argument("--embedder", choices=["hashing", "minilm"], default="hashing")
    parser.add_argument("--broker", choices=BROKERS, default="redis")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shards", type=int, default=500)
    args = parser.parse_args()
    if args.what == "overhead":
        print(json.dumps(measure_overhead(args)), flush=True)
    elif args.what == "stealing":
        print(json.dumps(measure_stealing(args)), flush=True)
    else:
        for measure in (measure_files, measure_postgres):
            print(json.dumps(measure(args.shards)), flush=True)


if __name__ == "__main__":
    main()
