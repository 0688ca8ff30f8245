"""What live listeners cost a batch: its speed with and without them, alternating, in one run.

python benchmarks/service.py                 # 100 listeners, half of them by WebSocket
python benchmarks/service.py --listeners 300

The server, its batch and the listeners are real processes on this machine, so the listeners' own
work is part of the cost; in real life it is done elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import websockets
from websockets.exceptions import ConnectionClosed

_WORDS = ("harbour", "lantern", "orchard", "granite", "violin", "harvest", "compass", "meadow")


def write_documents(folder: Path, count: int) -> None:
    """Documents of about two pages each."""
    folder.mkdir()
    for number in range(count):
        words = (
            f"{_WORDS[(number * 7 + place) % len(_WORDS)]}{place % 97}" for place in range(900)
        )
        (folder / f"d{number:05}.txt").write_text(" ".join(words), encoding="utf-8")


# --- the listeners: this file again, in a process of its own ------------------------------------


class Tally:
    """Counts events, and how long they took to come."""

    waiting = 0  # listeners without an event yet

    def __init__(self) -> None:
        self._times: list[float] = []
        Tally.waiting += 1

    def add(self, count: int = 1) -> None:
        """Count ``count`` events that came just now; say so when every listener has had one."""
        if count and not self._times:
            Tally.waiting -= 1
            if not Tally.waiting:
                print("ready", flush=True)
        self._times += [time.perf_counter()] * count

    def rate(self) -> float:
        """Events a second, from the first one to the last."""
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])


async def _listen_by_sse(host: str, port: int, key: str, batch_id: str) -> float:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        f"GET /batch/events/{batch_id} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    tally = Tally()
    while data := await reader.read(65536):
        tally.add(data.count(b"event: progress"))
    writer.close()
    return tally.rate()


async def _listen_by_websocket(host: str, port: int, key: str, batch_id: str) -> float:
    url = f"ws://{host}:{port}/batch/events/{batch_id}"
    tally = Tally()
    async with websockets.connect(
        url, additional_headers={"X-API-Key": key}, compression=None
    ) as connection:
        try:
            while True:
                await connection.recv(decode=False)
                tally.add()
        except ConnectionClosed:
            return tally.rate()


async def listen(count: int, host: str, port: int, key: str, batch_id: str) -> list[float]:
    """Follow the batch ``count`` times at once; how many events a second each of them got."""
    kinds = (_listen_by_sse, _listen_by_websocket)
    return await asyncio.gather(
        *(kinds[number % 2](host, port, key, batch_id) for number in range(count))
    )


# --- the benchmark --------------------------------------------------------------------------------


class Server:
    """`lesson15 serve` on a folder of its own."""

    def __init__(self, folder: Path, docs: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        at = ["--state-dir", str(folder)]
        lesson15 = [sys.executable, "-m", "lesson15.cli"]
        made = subprocess.run(
            [*lesson15, "keys", "add", "bench", *at], capture_output=True, text=True, check=True
        )
        self.key = made.stdout.strip()
        self.process = subprocess.Popen(
            [*lesson15, "serve", *at, "--port", str(self.port), "--allow", str(docs)],
            env={
                **os.environ,
                "LESSON15_EMBEDDER": "hashing",
                "LESSON15_SERVICE_LOG_LEVEL": "WARNING",
                "LESSON15_SERVICE_RATE_LIMIT": "100000/minute",
                "LESSON15_SERVICE_MAX_LISTENERS_PER_USER": "100000",
            },
        )
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers={"X-API-Key": self.key}, timeout=60
        )
        while True:
            try:
                self.client.get("/healthz")
                return
            except httpx.TransportError:
                time.sleep(0.05)

    def close(self) -> None:
        """End the server."""
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def cpu_seconds(process: subprocess.Popen[Any]) -> float:
    """What ``process`` itself has used, without its children."""
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


def run_batch(server: Server, docs: Path, batch_id: str, listeners: int) -> dict[str, Any]:
    """Documents a second of one batch, and events a second of each listener."""
    answer = server.client.post(
        "/batch/process", json={"doc_paths": [str(docs)], "batch_id": batch_id}
    )
    answer.raise_for_status()
    others = None
    if listeners:
        others = subprocess.Popen(
            [sys.executable, __file__, "--as-listeners", str(listeners),
             json.dumps(["127.0.0.1", server.port, server.key, batch_id])],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert others.stdout is not None
        assert others.stdout.readline() == "ready\n"
    # Measured between two counts, with everybody listening and neither start nor end in it.
    detail = wait_for(server, batch_id, 0.25)
    began, first = time.perf_counter(), detail["processed_docs"]
    measured = {"server_cpu": server.process}
    if others is not None:
        measured["listeners_cpu"] = others
    used = {name: cpu_seconds(process) for name, process in measured.items()}
    detail = wait_for(server, batch_id, 0.95)
    seconds = time.perf_counter() - began
    rate = (detail["processed_docs"] - first) / seconds
    result: dict[str, Any] = {"docs_per_second": rate}
    for name, process in measured.items():  # shares of one core
        result[name] = (cpu_seconds(process) - used[name]) / seconds
    wait_for(server, batch_id, 1.0)
    if others is not None:
        out, _ = others.communicate()
        result["events"] = json.loads(out)
    return result


def wait_for(server: Server, batch_id: str, share: float) -> dict[str, Any]:
    """The batch when it has come so far."""
    while True:
        detail: dict[str, Any] = server.client.get(f"/batch/detail/{batch_id}").json()
        if detail["processed_docs"] >= share * detail["total_docs"] > 0 and (
            share < 1 or detail["status"] == "finished"
        ):
            return detail
        time.sleep(0.05)


def main() -> None:
    """Parse arguments and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listeners", type=int, default=100)
    parser.add_argument("--documents", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--as-listeners", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.as_listeners:
        count, where = int(args.as_listeners[0]), json.loads(args.as_listeners[1])
        print(json.dumps(asyncio.run(listen(count, *where))))
        return
    alone: list[dict[str, Any]] = []
    watched: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        docs = Path(folder) / "docs"
        write_documents(docs, args.documents)
        server = Server(Path(folder) / "state", docs)
        try:
            run_batch(server, docs, "warm-up", 0)
            for number in range(args.rounds):
                alone.append(run_batch(server, docs, f"alone-{number}", 0))
                watched.append(run_batch(server, docs, f"watched-{number}", args.listeners))
        finally:
            server.close()
    # Of neighbours in time: the machine's other work drifts more than the rounds differ.
    ratios = [
        second["docs_per_second"] / first["docs_per_second"]
        for first, second in zip(alone, watched, strict=True)
    ]
    events = [rate for result in watched for rate in result["events"]]
    print(json.dumps({
        "listeners": args.listeners,
        "documents": args.documents,
        "rounds": args.rounds,
        "docs_per_second_alone": round(_median(alone, "docs_per_second"), 1),
        "docs_per_second_watched": round(_median(watched, "docs_per_second"), 1),
        "ratio_of_each_round": [round(ratio, 3) for ratio in ratios],
        "ratio": round(statistics.median(ratios), 3),
        "server_cpu_alone": round(_median(alone, "server_cpu"), 3),
        "server_cpu_watched": round(_median(watched, "server_cpu"), 3),
        "listeners_cpu": round(_median(watched, "listeners_cpu"), 3),
        "events_per_second_least": round(min(events), 1),
        "events_per_second_median": round(statistics.median(events), 1),
    }))  # fmt: skip


def _median(results: list[dict[str, Any]], name: str) -> float:
    return statistics.median(result[name] for result in results)


if __name__ == "__main__":
    main()
