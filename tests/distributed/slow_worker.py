"""``lesson15 worker`` with documents that take a while, and a log of those that were begun.

python -m tests.distributed.slow_worker DELAY LOG WORKER-OPTIONS...
"""

from __future__ import annotations

import asyncio
import os
import sys

from lesson15.cli import main
from lesson15.engine.work import DocumentOutcome, IndexingWork, SourceDocument


def slow_down(delay: float, log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    work = IndexingWork.__call__

    async def slow(self: IndexingWork, document: SourceDocument) -> DocumentOutcome:
        os.write(descriptor, f"{document.doc_id}\n".encode())
        await asyncio.sleep(delay)
        return await work(self, document)

    IndexingWork.__call__ = slow  # type: ignore[method-assign]


if __name__ == "__main__":
    slow_down(float(sys.argv[1]), sys.argv[2])
    sys.argv[1:3] = ["worker"]
    main()
