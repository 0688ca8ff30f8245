"""Many machines: the worker command, and the processor behind ``run --distributed``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesson15.cli.common import Broker, StateDir, app, state_folder
from lesson15.models import ScanRules
from lesson15.settings import Settings

if TYPE_CHECKING:
    from lesson15.distributed import DistributedProcessor


@app.command()
def worker(
    broker: Broker = None,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Shards at once; one keeps all cores busy.")
    ] = 1,
    state_dir: StateDir = None,
) -> None:
    """Work on shards of distributed batches until stopped."""
    from lesson15.distributed.queue import check_celery, chosen_broker

    url = chosen_broker(broker or Settings().broker_url)
    level = os.environ.get("LESSON15_LOG_LEVEL", "WARNING")
    check_celery()
    from lesson15.distributed.celery_worker import run_worker

    run_worker(url, state_folder(state_dir).absolute(), concurrency, level)


def distributed_processor(
    broker: str | None,
    state_dir: Path | None,
    max_concurrent: int | None,
    interval: int | None,
    embedder: str | None = None,
    store: str | None = None,
    settings: Settings | None = None,
    rules: ScanRules | None = None,
) -> DistributedProcessor:
    """The processor of a batch that workers do."""
    from lesson15.distributed import DistributedProcessor

    settings = settings or Settings()
    return DistributedProcessor(
        broker,
        max_concurrent or settings.max_concurrent,
        interval or settings.checkpoint_interval,
        state_dir=state_folder(state_dir),
        embedder=embedder,
        store=store,
        settings=settings,
        rules=rules,
    )
