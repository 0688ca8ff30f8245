"""Runs batches in forked children and SIGKILLs them on request; one JSON command a line.

A process of its own without threads, so that forking is safe, and with the engine imported
already, so that a random moment falls into the batch and not into the imports.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time

import lesson15.stores.faiss_store  # noqa: F401 - imported before the forks, as all else
from lesson15.engine.processor import BatchProcessor
from lesson15.errors import BatchNotFoundError
from lesson15.events import DocStarted, Event
from lesson15.settings import Settings


def run_child(command: dict) -> None:
    log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(event: Event) -> None:
        if isinstance(event, DocStarted):
            os.write(log, f"{event.doc_id}\n".encode())

    processor = BatchProcessor(
        command["max_concurrent"],
        command["interval"],
        state_dir=command["state"],
        embedder=command["embedder"],
        store=command["store"],
        settings=Settings(retry_delay=0.01),
    )
    processor.listeners.append(note)
    docs, batch = command["docs"], command["batch"]
    try:
        asyncio.run(processor.process_batch([docs], batch, resume=True))
    except BatchNotFoundError:
        asyncio.run(processor.process_batch([docs], batch))


def main() -> None:
    for line in sys.stdin:
        command = json.loads(line)
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run_child(command)
                code = 0
            finally:
                os._exit(code)
        status = None
        if command["delay"] is not None:
            while time.monotonic() < started + command["delay"] and status is None:
                time.sleep(0.001)
                done, raw = os.waitpid(child, os.WNOHANG)
                if done:
                    status = raw
            if status is None:
                os.kill(child, signal.SIGKILL)
        if status is None:
            status = os.waitpid(child, 0)[1]
        reply = {
            "killed": os.WIFSIGNALED(status),
            "code": os.waitstatus_to_exitcode(status),
            "seconds": time.monotonic() - started,
        }
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
