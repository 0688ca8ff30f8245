"""What the layer of faults costs when it is off, and with an empty plan.

python benchmarks/faults.py                    # the working tree against the revision before faults
python benchmarks/faults.py --base REVISION    # against another one

No-op documents, the engine's own cost and nothing else. The base has no seam for faults: it is
checked out into a temporary worktree. Each process runs one variant; the three take turns, in an
order that changes every round, and each round gives one ratio. On a machine with other work the
sharpest figure is the ratio of the least processor time that each variant ever took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
VARIANTS = ("base", "off", "empty plan")


def run_one(variant: str, count: int, interval: int) -> dict[str, float]:
    """Microseconds a document of one variant, by the wall clock and by the processor's."""
    from lesson15 import BatchProcessor
    from lesson15.engine.work import DocumentOutcome, SourceDocument

    async def no_op(_document: SourceDocument) -> DocumentOutcome:
        return DocumentOutcome()

    options: dict[str, Any] = {}
    if variant == "empty plan":
        from lesson15.faults import FaultPlan

        options["faults"] = FaultPlan()

    def run(documents: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            processor = BatchProcessor(
                10, interval, state_dir=folder, work=no_op, fingerprint=lambda _: None, **options
            )
            names = (f"doc/{number:09d}" for number in range(documents))
            report = asyncio.run(processor.process_batch(names, "bench"))
            assert report["processed_docs"] == documents, report

    run(count // 10)  # so that imports and warm-up are not measured
    wall, processor_time = time.perf_counter(), time.process_time()
    run(count)
    return {
        "wall": (time.perf_counter() - wall) / count * 1e6,
        "processor": (time.process_time() - processor_time) / count * 1e6,
    }


def git(*arguments: str) -> str:
    """What git prints."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def compare(base: str, count: int, interval: int, rounds: int) -> dict[str, Any]:
    """Each variant ``rounds`` times, and the medians of the ratios to the base."""
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        git("worktree", "add", "--detach", folder, base)
        try:
            for number in range(rounds):
                for variant in random.Random(number).sample(VARIANTS, len(VARIANTS)):
                    tree = folder if variant == "base" else str(ROOT)
                    command = [sys.executable, __file__, "--one", variant, "--count", str(count),
                               "--interval", str(interval)]  # fmt: skip
                    done = subprocess.run(
                        command, env={**os.environ, "PYTHONPATH": tree}, stdout=subprocess.PIPE,
                        cwd=folder, check=True,
                    )  # fmt: skip
                    found[variant].append(json.loads(done.stdout))
        finally:
            git("worktree", "remove", "--force", folder)
    result: dict[str, Any] = {"documents": count, "rounds": rounds, "base": git("rev-parse", base)}
    for variant, readings in found.items():
        for clock in ("wall", "processor"):
            values = [reading[clock] for reading in readings]
            result[f"{variant}, {clock} us/doc"] = round(statistics.median(values), 2)
            if variant != "base":
                least = min(values) / min(reading[clock] for reading in found["base"])
                result[f"{variant}, {clock} ratio of the least"] = round(least, 4)
                ratios = [
                    value / before[clock]
                    for value, before in zip(values, found["base"], strict=True)
                ]
                result[f"{variant}, {clock} ratio"] = round(statistics.median(ratios), 4)
                low, _, high = statistics.quantiles(ratios, n=4)
                result[f"{variant}, {clock} quartiles"] = [round(low, 4), round(high, 4)]
    return result


def main() -> None:
    """Parse arguments and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", help="Git revision without the seam.")
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--interval", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_one(args.one, args.count, args.interval)))
        return
    first = git("log", "--diff-filter=A", "--format=%H", "--", "lesson15/faults/injector.py")
    base = args.base or f"{first.splitlines()[-1]}^"
    print(json.dumps(compare(base, args.count, args.interval, args.rounds), indent=2))


if __name__ == "__main__":
    main()
