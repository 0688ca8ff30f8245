"""What a short checkpoint interval costs, as ratios of one run.

python benchmarks/interval.py            # both measurements
python benchmarks/interval.py --rounds 5

1. Real files, hashing embedder: the speed at an interval of 10, in that at 1,000. Both run in turn.
2. No-op documents at an interval of 10: the time of the batch, in the time that its fsyncs take by
   themselves: the same writes, fsyncs and renames, in the same order, with nothing in between.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import lesson15
from lesson15 import BatchProcessor
from lesson15.checkpoint.filesystem import AppendFile, OsFileSystem
from lesson15.engine.work import DocumentOutcome, SourceDocument

SHORT, LONG = 10, 1000


async def no_op(_document: SourceDocument) -> DocumentOutcome:
    """The work that is none."""
    return DocumentOutcome()


class Recorded:
    """A file whose writes and fsyncs are noted."""

    def __init__(self, file: AppendFile, name: str, trace: list[tuple[str, str, bytes]]) -> None:
        self._file, self._name, self._trace = file, name, trace

    def write(self, data: bytes) -> None:
        """Write and note it."""
        self._file.write(data)
        self._trace.append(("write", self._name, data))

    def fsync(self) -> None:
        """Flush and note it."""
        self._file.fsync()
        self._trace.append(("fsync", self._name, b""))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RecordingFileSystem(OsFileSystem):
    """Notes what is written, flushed and renamed, to do the same again alone."""

    def __init__(self) -> None:
        self.trace: list[tuple[str, str, bytes]] = []

    def open_append(self, path: Path) -> AppendFile:
        """As the real one, noted."""
        return Recorded(super().open_append(path), path.name, self.trace)

    def create(self, path: Path) -> AppendFile:
        """As the real one, noted."""
        self.trace.append(("create", path.name, b""))
        return Recorded(super().create(path), path.name, self.trace)

    def rename(self, source: Path, target: Path) -> None:
        """As the real one, noted."""
        super().rename(source, target)
        self.trace.append(("rename", target.name, source.name.encode()))

    def fsync_folder(self, path: Path) -> None:
        """As the real one, noted."""
        super().fsync_folder(path)
        self.trace.append(("folder", "", b""))


def replay(trace: list[tuple[str, str, bytes]], folder: Path) -> float:
    """Seconds in the fsyncs of ``trace``, done again in ``folder``."""
    files: dict[str, int] = {}
    spent = 0.0
    for kind, name, data in trace:
        if name not in files and kind in ("write", "fsync", "create"):
            files[name] = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        if kind == "write":
            os.write(files[name], data)
        elif kind == "rename":
            (folder / data.decode()).replace(folder / name)
            os.close(files.pop(data.decode()))
        elif kind in ("fsync", "folder"):
            descriptor = files[name] if kind == "fsync" else os.open(folder, os.O_RDONLY)
            started = time.perf_counter()
            os.fsync(descriptor)
            spent += time.perf_counter() - started
            if kind == "folder":
                os.close(descriptor)
    for descriptor in files.values():
        os.close(descriptor)
    return spent


def measure_no_op(count: int, folder: Path) -> dict[str, float]:
    """The batch, and its fsyncs alone."""
    fs = RecordingFileSystem()
    with (
        tempfile.TemporaryDirectory(dir=folder) as state,
        tempfile.TemporaryDirectory(dir=folder) as again,
    ):
        names = (f"doc/{number:09d}" for number in range(count))
        processor = BatchProcessor(10, SHORT, state_dir=state, work=no_op, fs=fs)
        started = time.perf_counter()
        report = asyncio.run(processor.process_batch(names, "bench"))
        batch = time.perf_counter() - started
        assert report["processed_docs"] == count, report
        fsyncs = replay(fs.trace, Path(again))
    syncs = sum(kind in ("fsync", "folder") for kind, _, _ in fs.trace)
    return {"batch": batch, "fsyncs": fsyncs, "per_commit": syncs / (count / SHORT)}


def make_documents(folder: Path, count: int) -> Path:
    """Text files of 100 to 900 words."""
    docs = folder / "docs"
    docs.mkdir()
    dice = random.Random(1)
    words = [f"word{number}" for number in range(2000)]
    for number in range(count):
        text = " ".join(dice.choices(words, k=dice.randint(100, 900)))
        (docs / f"d{number}.txt").write_text(text, encoding="utf-8")
    return docs


def measure_real(docs: Path, interval: int, folder: Path) -> float:
    """Documents a second."""
    with tempfile.TemporaryDirectory(dir=folder) as state:
        started = time.perf_counter()
        report = lesson15.run(
            [docs], "bench", state_dir=state, embedder="hashing", checkpoint_interval=interval
        )
        return float(report["processed_docs"]) / (time.perf_counter() - started)


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=1500)
    parser.add_argument("--folder", default=".", help="on the disk that is to be measured")
    options = parser.parse_args()
    result: dict[str, Any] = {"rounds": options.rounds, "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        docs = make_documents(folder, options.documents)
        real, no_ops = [], []
        for _ in range(options.rounds):
            slow = measure_real(docs, SHORT, folder)
            real.append(slow / measure_real(docs, LONG, folder))
            no_ops.append(measure_no_op(10_000, folder))
        ratios = [run["batch"] / run["fsyncs"] for run in no_ops]
        result |= {
            "real_files_speed_at_10_to_1000": round(statistics.median(real), 3),
            "rounds_of_it": [round(ratio, 3) for ratio in real],
            "no_op_batch_to_its_fsyncs": round(statistics.median(ratios), 3),
            "rounds_of_that": [round(ratio, 3) for ratio in ratios],
            "fsyncs_a_commit": round(no_ops[0]["per_commit"], 2),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
