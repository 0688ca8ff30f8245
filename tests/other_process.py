"""What another process does to a batch while a test reads it: python -m tests.other_process WHAT.

Its documents are names, and their vectors come from a sum, so that thousands take a second.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from zlib import crc32

import numpy as np

from lesson15 import Batch, BatchProcessor
from lesson15.checkpoint.encryption import Keyring
from lesson15.engine.work import DocumentOutcome, SourceDocument
from lesson15.errors import BatchLockedError
from lesson15.models import Chunk

OLD, NEW = b"\x0a" * 32, b"\x0b" * 32


class Tiny:
    """Vectors of eight numbers by a checksum of the text."""

    name = "tiny"
    dimensions = 8

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        seeds = [crc32(text.encode()) for text in texts]
        vectors = np.array([[seed >> bit & 0xFF for bit in range(0, 32, 4)] for seed in seeds])
        vectors = vectors.astype(np.float32) + 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


async def work(document: SourceDocument) -> DocumentOutcome:
    texts = [f"This is {document.doc_id}."]
    return DocumentOutcome([Chunk(text) for text in texts], Tiny().embed(texts))


def names(total: int) -> Iterator[str]:
    return (f"d{number:06}" for number in range(total))


def processor(state: Path | str) -> BatchProcessor:
    return BatchProcessor(10, 100, state_dir=state, embedder=Tiny(), work=work)


def line() -> str:
    return sys.stdin.readline().strip()


def say(text: str) -> None:
    print(text, flush=True)


def resume(state: str, total: int) -> None:
    """Go on to ``total`` documents, at most; killed before."""
    asyncio.run(processor(state).process_batch(names(total), "b", resume=True))


def recover() -> None:
    """For each "STATE TOTAL" on stdin: say "begins", recover and resume, and hold the batch until
    the next line comes.
    """
    while words := line().split():
        state, total = words[0], int(words[1])

        def held(total: int = total) -> Iterator[str]:
            yield from names(total)
            say("holds")
            line()

        say("begins")
        while True:
            try:
                asyncio.run(processor(state).process_batch(held(), "b", resume=True))
            except BatchLockedError:  # the reader recovers it just now
                continue
            break
        say("ended")


def rotate(state: str) -> None:
    """Rekey the batch to and fro, until killed."""
    for keys in cycle([{"old": OLD, "new": NEW}, {"new": NEW, "old": OLD}]):
        with suppress(BatchLockedError), Batch.open(state, "b", Keyring(keys)) as batch:
            batch.rekey()


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "resume":
        resume(arguments[0], int(arguments[1]))
    elif what == "recover":
        recover()
    elif what == "rotate":
        rotate(*arguments)
