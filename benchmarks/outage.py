"""A batch through an outage of its embedding service and a storm of refusals.

python benchmarks/outage.py                              # 2,000 documents, ten minutes away
python benchmarks/outage.py --outage 30 --documents 500  # the same in short

A real HTTP server on this machine answers `--rate` requests a second at most. After a third of the
documents it is away: half of that time it refuses with status 503, the other half nobody listens at
its port. Then, for `--storm` seconds, it refuses every second request with status 429. Printed are
the documents in the dead-letter list, the texts that were answered more than once, the requests
sent while it was away, and the rate after the trouble against the rate that the server allows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from lesson15 import BatchProcessor, verify
from lesson15.settings import Settings
from tests.embedding.server import EmbeddingServer, Trouble, status


class World:
    """The server, and when it is in trouble."""

    def __init__(self, documents: int, outage: float, storm: float, rate: float) -> None:
        self.documents, self.outage, self.storm = documents, outage, storm
        self.server = EmbeddingServer(self.trouble, requests_per_second=rate)
        self.began: float | None = None
        self.ended: float | None = None
        self._lock = threading.Lock()
        self._turn = 0

    def trouble(self, _texts: Sequence[str]) -> Trouble | None:
        """What is wrong at this moment."""
        with self._lock:
            if self.began is None and len(self.server.answered) >= self.documents // 3:
                self.began = time.monotonic()
            if self.began is not None and self.ended is None:
                return status(503)
            if self.ended is not None and time.monotonic() - self.ended < self.storm:
                self._turn += 1
                return status(429, 0.1) if self._turn % 2 else None
            return None

    def drive(self) -> None:
        """Close the port half-way through the outage, and open it at its end."""
        while self.began is None:
            time.sleep(0.05)
        time.sleep(self.outage / 2)
        self.server.__exit__()
        time.sleep(self.outage / 2)
        self.ended = time.monotonic()
        self.server.__enter__()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--outage", type=float, default=600.0, help="seconds")
    parser.add_argument("--storm", type=float, default=20.0, help="seconds")
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second")
    options = parser.parse_args()
    world = World(options.documents, options.outage, options.storm, options.rate)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "docs").mkdir()
        for number in range(options.documents):
            (folder / "docs" / f"d{number:05}.txt").write_text(f"Document {number} of many.")
        with world.server:
            threading.Thread(target=world.drive, daemon=True).start()
            processor = BatchProcessor(
                32,
                100,
                state_dir=folder / "state",
                embedder=world.server.name(dimensions=16, batch_size=1, threads=8),
                settings=Settings(),
            )
            started = time.monotonic()
            report = asyncio.run(processor.process_batch([folder / "docs"], "b"))
            seconds = time.monotonic() - started
        is_clean = verify("b", folder / "state").is_clean
    assert world.began is not None
    assert world.ended is not None
    asked = world.server.asked
    answers = Counter(text for text in world.server.answered if text.startswith("Document"))
    calm_from = world.ended + options.storm + 5
    calm = [a.at for a in asked if a.status == 200 and a.at > calm_from]
    result = {
        "documents": report["processed_docs"],
        "dead letters": len(report["failures"]),
        "clean": is_clean,
        "seconds": round(seconds, 1),
        "answered more than once": sum(answers.values()) - len(answers),
        "requests while away": sum(world.began <= a.at < world.ended for a in asked),
        "back after": round(
            min(a.at for a in asked if a.status == 200 and a.at > world.ended) - world.ended, 1
        ),
        "requests refused": sum(a.status == 429 for a in asked),
        "requests": len(asked),
        "rate kept": round((len(calm) - 1) / (calm[-1] - calm[0]) / options.rate, 3)
        if len(calm) > 100
        else None,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
