"""The Celery worker: ``lesson15 worker`` ends here."""

from __future__ import annotations

import os
import socket
import uuid
from functools import cache, partial
from pathlib import Path
from typing import Any

from celery.worker.consumer import Consumer

from lesson15.distributed.queue import QUEUE, TASK, CeleryQueue, ShardTask, make_app
from lesson15.distributed.worker import ShardWorker
from lesson15.settings import Settings


class QuickConsumer(Consumer):  # type: ignore[misc, unused-ignore] # Celery is untyped
    """Looks for a lost broker every second: Celery waits longer each time, up to half a minute."""

    def ensure_connected(self, conn: Any) -> Any:
        """``conn``, once it is connected."""
        conn.ensure_connection = partial(conn.ensure_connection, interval_start=1, interval_step=0)
        return super().ensure_connected(conn)


def run_worker(broker_url: str, state_dir: Path, concurrency: int, log_level: str) -> None:
    """Work on shards until told to stop (SIGTERM: after the present ones; twice: now).

    Args:
        broker_url: where tasks come from.
        state_dir: the shared folder of all batches' state.
        concurrency: shards at once, each in a process of its own.
        log_level: of Celery's own log.

    Raises:
        BrokerUnavailableError: the broker cannot be reached.
    """
    CeleryQueue(broker_url).waiting()
    app = make_app(broker_url)
    app.conf.worker_consumer = f"{__name__}:{QuickConsumer.__name__}"
    settings = Settings()
    if settings.parser_processes is None:
        processes = max(1, (os.cpu_count() or 1) // concurrency)
        settings = settings.model_copy(update={"parser_processes": processes})

    @cache
    def worker() -> ShardWorker:  # made in the process that does the work
        return ShardWorker(state_dir, settings)

    @app.task(name=TASK)  # type: ignore[untyped-decorator, unused-ignore]
    def work_on_next_shard(**task: Any) -> None:
        worker().work_on(ShardTask(**task))

    app.worker_main(
        [
            "worker",
            f"--concurrency={concurrency}",
            f"--queues={QUEUE}",
            f"--hostname={uuid.uuid4().hex[:8]}@{socket.gethostname()}",
            f"--loglevel={log_level}",
            "--without-gossip",
            "--without-mingle",
        ]
    )
