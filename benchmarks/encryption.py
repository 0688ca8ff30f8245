"""What encryption at rest costs: the same batch with and without a key, alternating.

python benchmarks/encryption.py [DOCUMENTS] [--rounds N]

Documents are parsed, chunked and embedded by hashing, so fast that the cost of state counts for
more than with any model. Work that is nothing shows the cost of the records alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from lesson15 import BatchProcessor
from lesson15.engine.work import DocumentOutcome, SourceDocument
from lesson15.settings import Settings

KEYS = {"plain": None, "encrypted": SecretStr("5a" * 32)}
CHARS = 4000


async def no_op(_document: SourceDocument) -> DocumentOutcome:
    """The work that is none."""
    return DocumentOutcome()


def write_documents(folder: Path, count: int) -> list[str]:
    """``count`` text files of 4,000 characters."""
    paths = []
    for number in range(count):
        path = folder / f"{number:06}.txt"
        path.write_text(
            (f"Document {number} tells of subject {number * 7919 % 1000}. " * 90)[:CHARS]
        )
        paths.append(str(path))
    return paths


def seconds_of(paths: list[str], key: SecretStr | None, **options: Any) -> float:
    """How long one batch takes, start to end."""
    with tempfile.TemporaryDirectory() as state:
        processor = BatchProcessor(
            10,
            100,
            state_dir=state,
            embedder="hashing",
            settings=Settings(encryption_key=key),
            **options,
        )
        started = time.perf_counter()
        report = asyncio.run(processor.process_batch(paths, "bench"))
        elapsed = time.perf_counter() - started
        assert report["processed_docs"] == len(paths), report
    return elapsed


def compare(what: str, paths: list[str], rounds: int, **options: Any) -> dict[str, Any]:
    """Median microseconds a document of both, and their ratio."""
    times: dict[str, list[float]] = {name: [] for name in KEYS}
    for _ in range(rounds):
        for name, key in KEYS.items():
            times[name].append(seconds_of(paths, key, **options) / len(paths) * 1e6)
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        "work": what,
        "documents": len(paths),
        "rounds": rounds,
        **{f"{name}_us_per_doc": round(found, 1) for name, found in medians.items()},
        "ratio": round(medians["encrypted"] / medians["plain"], 3),
    }


def main() -> None:
    """Parse arguments and print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", nargs="?", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_documents(Path(folder), args.documents)
        seconds_of(paths[:50], KEYS["encrypted"])  # imports
        print(json.dumps(compare("parse and embed by hashing", paths, args.rounds)), flush=True)
    names = [f"doc/{number:09d}" for number in range(10 * args.documents)]
    print(json.dumps(compare("none", names, args.rounds, work=no_op)), flush=True)


if __name__ == "__main__":
    main()
