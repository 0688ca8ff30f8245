"""What the layer of faults costs when it is off, and with an empty plan.

python benchmarks/faults.py                    # the working tree against the revision before faults
python benchmarks/faults.py --base REVISION    # against another one

No-op documents, the engine's own cost and nothing else. The base has no seam for faults: it is
checked out into a temporary worktree. Each variant has a process of its own; they take short turns,
in an order that changes every round, so that other work on the machine meets them alike. Where a
process happens to lie in memory makes a per cent or two as well, so new ones are started again and
again: each set of processes gives one median ratio, and the median of those is given with its 95 %
confidence interval, for the wall clock and for processor time, which is the sharper on a busy
machine. "base again" is the base a second time: how far it is from 1 is the noise that is left. The
number of calls of the package's functions is exact on any machine.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parent.parent
VARIANTS = ("base", "base again", "off", "empty plan")
ROUNDS_OF_A_PROCESS = 20


def serve(variant: str, count: int, interval: int) -> None:
    """Run ``count`` documents for each line on stdin; print microseconds a document by clock."""
    from lesson15 import BatchProcessor
    from lesson15.engine.work import DocumentOutcome, SourceDocument

    async def no_op(_document: SourceDocument) -> DocumentOutcome:
        return DocumentOutcome()

    options: dict[str, Any] = {}
    if "fingerprint" in inspect.signature(BatchProcessor).parameters:  # in older revisions
        options["fingerprint"] = lambda _path: None
    if variant == "empty plan":
        from lesson15.faults import FaultPlan

        options["faults"] = FaultPlan()
    for line in sys.stdin:
        calls = count_calls() if line == "calls\n" else None
        with tempfile.TemporaryDirectory() as folder:
            processor = BatchProcessor(10, interval, state_dir=folder, work=no_op, **options)
            names = (f"doc/{number:09d}" for number in range(count))
            wall, cpu = time.perf_counter(), time.process_time()
            report = asyncio.run(processor.process_batch(names, "bench"))
            taken = {"wall": time.perf_counter() - wall, "processor": time.process_time() - cpu}
        assert report["processed_docs"] == count, report
        reading = {clock: seconds / count * 1e6 for clock, seconds in taken.items()}
        if calls is not None:
            sys.setprofile(None)
            threading.setprofile(None)
            reading = {"calls": calls.total() / count}
        print(json.dumps(reading), flush=True)


def count_calls() -> Counter[str]:
    """Count, from now on and in new threads too, the calls of functions of lesson15, by file."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_globals.get("__name__", "").startswith("lesson15"):
            calls[frame.f_code.co_filename] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    return calls


def git(*arguments: str) -> str:
    """What git prints."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def compare(base: str, count: int, interval: int, processes: int) -> dict[str, Any]:
    """The ratios to the base of ``processes`` sets of processes, and their medians."""
    ratios: dict[str, list[float]] = {}
    result: dict[str, Any] = {"documents": count, "processes": processes}
    with tempfile.TemporaryDirectory() as folder:
        git("worktree", "add", "--detach", folder, base)
        try:
            for number in range(processes):
                servers = {variant: start(variant, folder, count, interval) for variant in VARIANTS}
                dice = random.Random(number)
                measure(servers, 2, dice)  # warm up
                found = measure(servers, ROUNDS_OF_A_PROCESS, dice)
                calls = measure(servers, 1, dice, "calls")
                for server in servers.values():
                    server.communicate()
                for variant, clock in itertools.product(VARIANTS[1:], ("wall", "processor")):
                    ratio = statistics.median(
                        ours[clock] / theirs[clock]
                        for ours, theirs in zip(found[variant], found["base"], strict=True)
                    )
                    ratios.setdefault(f"{variant}, {clock}", []).append(ratio)
        finally:
            git("worktree", "remove", "--force", folder)
    result["base"] = git("rev-parse", base)
    result["calls_per_doc"] = {variant: found[0]["calls"] for variant, found in calls.items()}
    return result | {name: median_with_interval(values) for name, values in ratios.items()}


def start(variant: str, base_tree: str, count: int, interval: int) -> subprocess.Popen[str]:
    """A process that serves ``variant``."""
    tree = base_tree if variant.startswith("base") else str(ROOT)
    return subprocess.Popen(
        [sys.executable, __file__, "--serve", variant, "--count", str(count),
         "--interval", str(interval)],
        env={**os.environ, "PYTHONPATH": tree}, cwd=base_tree, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def measure(
    servers: dict[str, subprocess.Popen[str]], rounds: int, dice: random.Random, what: str = "time"
) -> dict[str, list[dict[str, float]]]:
    """The readings of each server, which take turns."""
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in servers}
    for _ in range(rounds):
        for variant in dice.sample(VARIANTS, len(VARIANTS)):
            server = servers[variant]
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(f"{what}\n")
            server.stdin.flush()
            found[variant].append(json.loads(server.stdout.readline()))
    return found


def median_with_interval(ratios: list[float]) -> dict[str, Any]:
    """The median and its 95 % confidence interval, by the ranks of the binomial distribution."""
    ordered = sorted(ratios)
    middle, reach = len(ordered) / 2, 0.98 * math.sqrt(len(ordered))
    low, high = (
        ordered[max(0, int(middle - reach))],
        ordered[int(min(middle + reach, middle * 2 - 1))],
    )
    return {
        "ratio": round(statistics.median(ordered), 4),
        "interval_95": [round(low, 4), round(high, 4)],
    }


def main() -> None:
    """Parse arguments and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", help="Git revision without the seam.")
    parser.add_argument("--serve", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=5_000)
    parser.add_argument("--interval", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=15)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.count, args.interval)
        return
    first = git("log", "--diff-filter=A", "--format=%H", "--", "lesson15/faults/injector.py")
    base = args.base or f"{first.splitlines()[-1]}^"
    print(json.dumps(compare(base, args.count, args.interval, args.processes), indent=2))


if __name__ == "__main__":
    main()
