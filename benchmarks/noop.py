"""No-op documents: overhead against a bare asyncio semaphore, checkpoint cost, and memory.

python benchmarks/noop.py overhead           # ratio, both measured in one run, interleaved
python benchmarks/noop.py scale 1000 10000   # each size in a process of its own
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lesson15 import BatchProcessor
from lesson15.checkpoint.batch_files import BatchFiles
from lesson15.engine.work import DocumentOutcome, SourceDocument

CONCURRENCY = 10


async def no_op(_document: SourceDocument) -> DocumentOutcome:
    """The work that is none."""
    return DocumentOutcome()


def names(count: int) -> Iterator[str]:
    """Document names, streamed."""
    return (f"doc/{number:09d}" for number in range(count))


async def bare_asyncio(count: int) -> None:
    """What a script without an engine does: a task per document behind a semaphore."""
    semaphore = asyncio.Semaphore(CONCURRENCY)

    async def one(name: str) -> DocumentOutcome:
        async with semaphore:
            return await no_op(SourceDocument(name, name))

    await asyncio.gather(*(one(name) for name in names(count)))


async def engine(count: int, interval: int, folder: str) -> dict[str, Any]:
    """The same through the engine: journal, checkpoints and catalogue included."""
    processor = BatchProcessor(CONCURRENCY, interval, state_dir=folder, work=no_op)
    return await processor.process_batch(names(count), "bench")


def measure_overhead(count: int, interval: int, rounds: int) -> dict[str, Any]:
    """Microseconds a document of both, alternating, and the ratio of the medians."""
    bare, ours = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        asyncio.run(bare_asyncio(count))
        bare.append((time.perf_counter() - started) / count * 1e6)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            report = asyncio.run(engine(count, interval, folder))
            ours.append((time.perf_counter() - started) / count * 1e6)
            assert report["processed_docs"] == count, report
    return {
        "documents": count,
        "checkpoint_interval": interval,
        "rounds": rounds,
        "bare_us_per_doc": round(statistics.median(bare), 2),
        "engine_us_per_doc": round(statistics.median(ours), 2),
        "ratio": round(statistics.median(ours) / statistics.median(bare), 3),
    }


def measure_scale(count: int, interval: int) -> dict[str, Any]:
    """Time, time in checkpoints, and peak memory of one batch, in this process.

    A checkpoint is all that makes a commit durable: segment, journal and checkpoint file. It is
    written in a thread while work goes on, so its time is not all added to the batch's.
    """
    spent = 0.0
    write = BatchFiles.write

    def timed(*args: Any) -> None:
        nonlocal spent
        started = time.perf_counter()
        write(*args)
        spent += time.perf_counter() - started

    BatchFiles.write = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        asyncio.run(engine(count, interval, folder))
        seconds = time.perf_counter() - started
        state_bytes = sum(path.stat().st_size for path in Path(folder).rglob("*"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "documents": count,
        "seconds": round(seconds, 2),
        "us_per_doc": round(seconds / count * 1e6, 2),
        "checkpoint_seconds": round(spent, 3),
        "checkpoint_us_per_doc": round(spent / count * 1e6, 3),
        "peak_rss_mib": round(peak, 1),
        "state_bytes_per_doc": round(state_bytes / count, 1),
    }


def main() -> None:
    """Parse arguments and print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["overhead", "scale", "one"])
    parser.add_argument("sizes", nargs="*", type=int)
    parser.add_argument("--interval", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.what == "overhead":
        for size in args.sizes or [100_000]:
            print(json.dumps(measure_overhead(size, args.interval, args.rounds)), flush=True)
    elif args.what == "one":
        print(json.dumps(measure_scale(args.sizes[0], args.interval)))
    else:
        for size in args.sizes or [1_000, 10_000, 100_000, 1_000_000]:
            command = [sys.executable, __file__, "one", str(size), "--interval", str(args.interval)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
