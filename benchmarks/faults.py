"""What the layer of faults costs when it is off, and with an empty plan.

python benchmarks/faults.py                    # the working tree against the revision before faults
python benchmarks/faults.py --base REVISION    # against another one

No-op documents, the engine's own cost and nothing else. The base has no seam for faults: it is
checked out into a temporary worktree. Each variant has a process of its own that stays; they take
short turns, in an order that changes every round, so that other work on the machine meets them
alike. Each round gives one ratio; the median of many is given with its 95 % confidence interval,
for the wall clock and for processor time, which is the sharper of the two on a busy machine. The
number of calls of the package's functions is exact on any.
"""

from __future__ import annotations

import argparse
import asyncio
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
VARIANTS = ("base", "off", "empty plan")


def serve(variant: str, count: int, interval: int) -> None:
    """Run ``count`` documents for each line on stdin; print microseconds a document by clock."""
    from lesson15 import BatchProcessor
    from lesson15.engine.work import DocumentOutcome, SourceDocument

    async def no_op(_document: SourceDocument) -> DocumentOutcome:
        return DocumentOutcome()

    options: dict[str, Any] = {}
    if variant == "empty plan":
        from lesson15.faults import FaultPlan

        options["faults"] = FaultPlan()
    for line in sys.stdin:
        calls = count_calls() if line == "calls\n" else None
        with tempfile.TemporaryDirectory() as folder:
            processor = BatchProcessor(
                10, interval, state_dir=folder, work=no_op, fingerprint=lambda _: None, **options
            )
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


def compare(base: str, count: int, interval: int, rounds: int) -> dict[str, Any]:
    """Each variant ``rounds`` times, and the medians of the ratios to the base."""
    with tempfile.TemporaryDirectory() as folder:
        git("worktree", "add", "--detach", folder, base)
        servers = {}
        try:
            for variant in VARIANTS:
                tree = folder if variant == "base" else str(ROOT)
                servers[variant] = subprocess.Popen(
                    [sys.executable, __file__, "--serve", variant, "--count", str(count),
                     "--interval", str(interval)],
                    env={**os.environ, "PYTHONPATH": tree}, cwd=folder, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                )  # fmt: skip
            measure(servers, 3, random.Random(0))  # warm up
            calls = measure(servers, 1, random.Random(0), "calls")
            found = measure(servers, rounds, random.Random(1))
        finally:
            for server in servers.values():
                server.communicate()
            git("worktree", "remove", "--force", folder)
    result: dict[str, Any] = {"documents": count, "rounds": rounds, "base": git("rev-parse", base)}
    result["calls_per_doc"] = {variant: found[0]["calls"] for variant, found in calls.items()}
    for variant, clock in itertools.product(VARIANTS, ("wall", "processor")):
        values = [reading[clock] for reading in found[variant]]
        result[f"{variant}, {clock}"] = {"us_per_doc": round(statistics.median(values), 2)}
        if variant != "base":
            base_values = [reading[clock] for reading in found["base"]]
            ratios = [value / other for value, other in zip(values, base_values, strict=True)]
            result[f"{variant}, {clock}"] |= median_with_interval(ratios)
    return result


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
    parser.add_argument("--rounds", type=int, default=300)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.count, args.interval)
        return
    first = git("log", "--diff-filter=A", "--format=%H", "--", "lesson15/faults/injector.py")
    base = args.base or f"{first.splitlines()[-1]}^"
    print(json.dumps(compare(base, args.count, args.interval, args.rounds), indent=2))


if __name__ == "__main__":
    main()
