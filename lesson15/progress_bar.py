"""The progress bar of the command line, on rich: count, rate, failures and ETA, on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from lesson15.models import ProgressInfo


@contextmanager
def progress_bar(processor: Any, *, is_shown: bool) -> Iterator[None]:
    """Show the progress of what ``processor`` runs while this context is open."""
    if not is_shown:
        yield
        return
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} docs/s"),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
        TextColumn("ETA {task.fields[eta]}"),
        console=Console(stderr=True),
        transient=True,
    )
    task = progress.add_task("starting", total=None, rate="?", failed=0, eta="?")

    def show(info: ProgressInfo) -> None:
        progress.update(
            task,
            description=info.batch_id if info.total else f"{info.batch_id} (counting)",
            total=info.total or None,
            completed=info.completed + info.failed,
            rate=f"{info.rate:.1f}" if info.rate else "?",
            failed=info.failed,
            eta="?" if info.eta is None else f"{info.eta:.0f} s",
        )

    processor.progress_callbacks.append(show)
    try:
        with progress:
            yield
    finally:
        processor.progress_callbacks.remove(show)
