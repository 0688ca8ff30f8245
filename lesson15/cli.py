"""The command line. Starting it imports neither torch nor numpy: commands load what they need."""

from __future__ import annotations

import enum
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lesson15.checkpoint.layout import is_locked
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.documents.loaders import supported_types
from lesson15.documents.scan import check_paths, scan
from lesson15.errors import (
    EmbeddingModelError,
    Lesson15Error,
    NoDocumentsError,
    StorageError,
    UsageError,
)
from lesson15.logs import log_to_stderr
from lesson15.models import BatchReport, BatchState, BatchStatus
from lesson15.settings import Settings

if TYPE_CHECKING:
    from lesson15.engine.processor import BatchProcessor

app = typer.Typer(
    help="Batch processing with checkpoint and resume.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class ExitCode(enum.IntEnum):
    """What the process returns."""

    DONE = 0
    FAILURES = 1
    USAGE = 2
    RESUMABLE = 3


class EmbedderChoice(enum.StrEnum):
    """Embedding models."""

    MINILM = "minilm"
    HASHING = "hashing"


class StoreChoice(enum.StrEnum):
    """Vector stores."""

    FAISS = "faiss"
    CHROMA = "chroma"


StateDir = Annotated[Path | None, typer.Option("--state-dir", help="Folder of all batches' state.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
BatchId = Annotated[str, typer.Argument(metavar="ID", help="Batch id.")]
MaxConcurrent = Annotated[
    int | None, typer.Option(min=1, help="Documents in work at once [default: 10].")
]
Interval = Annotated[
    int | None, typer.Option(min=1, help="Documents between two checkpoints [default: 10].")
]


@app.command()
def run(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files or folders.")],
    batch_id: Annotated[str | None, typer.Option(help="Name of the batch.")] = None,
    state_dir: StateDir = None,
    max_concurrent: MaxConcurrent = None,
    checkpoint_interval: Interval = None,
    embedder: Annotated[EmbedderChoice | None, typer.Option(help="Embedding model.")] = None,
    store: Annotated[StoreChoice | None, typer.Option(help="Vector store.")] = None,
    as_json: AsJson = False,
) -> None:
    """Process documents as a new batch."""
    settings = Settings()
    check_paths(paths)
    if next(scan(paths), None) is None:
        raise NoDocumentsError(paths=", ".join(paths), types=supported_types())
    from lesson15.engine.processor import new_batch_id

    batch_id = batch_id or new_batch_id()
    processor = _processor(
        settings, state_dir, max_concurrent, checkpoint_interval, embedder, store
    )
    _drive(processor, batch_id, processor.process_batch(paths, batch_id), as_json)


@app.command()
def resume(
    batch_id: BatchId,
    state_dir: StateDir = None,
    max_concurrent: MaxConcurrent = None,
    checkpoint_interval: Interval = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a batch; a finished one is only looked over for changed files."""
    processor = _processor(Settings(), state_dir, max_concurrent, checkpoint_interval)
    _drive(processor, batch_id, processor.resume_batch(batch_id), as_json)


@app.command("retry-failed")
def retry_failed(
    batch_id: BatchId,
    state_dir: StateDir = None,
    max_concurrent: MaxConcurrent = None,
    checkpoint_interval: Interval = None,
    as_json: AsJson = False,
) -> None:
    """Work on the dead-letter list of a batch again."""
    processor = _processor(Settings(), state_dir, max_concurrent, checkpoint_interval)
    _drive(processor, batch_id, processor.retry_failed(batch_id), as_json)


@app.command()
def status(batch_id: BatchId, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Show how far a batch is, by its last checkpoint."""
    manager = CheckpointManager(_state_dir(state_dir))
    state = manager.load_checkpoint(batch_id)
    view = _view(manager, state)
    if as_json:
        _print_json(view)
    else:
        print(
            f"{batch_id}: {view['status']}, {view['progress_percent']:.1f} % of "
            f"{state.total_docs} documents; {state.processed_docs} done, "
            f"{state.failed_docs} failed, {state.skipped_docs} skipped"
        )


@app.command("list")
def list_batches(state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """List all batches."""
    manager = CheckpointManager(_state_dir(state_dir))
    batches: list[dict[str, Any]] = []
    for batch_id in manager.list_checkpoints():
        found = manager.try_load(batch_id)
        if isinstance(found, BatchState):
            batches.append(_view(manager, found))
        else:
            batches.append({"batch_id": batch_id, "status": "damaged", "error": str(found)})
    if as_json:
        _print_json({"batches": batches, "total_count": len(batches)})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("batch", "status", "done", "failed", "skipped", "total")
    for batch in batches:
        counts = (str(batch.get(name, "?")) for name in (
            "processed_docs", "failed_docs", "skipped_docs", "total_docs"))  # fmt: skip
        table.add_row(batch["batch_id"], batch["status"], *counts)
    Console().print(table)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for.")],
    batch_id: Annotated[str, typer.Option(help="Batch to search.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of hits.")] = 5,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Find the chunks nearest in meaning to a text."""
    from lesson15.engine.searching import Searcher

    searcher = Searcher(batch_id, _state_dir(state_dir))
    try:
        hits = searcher.search(text, k)
    finally:
        searcher.close()
    if as_json:
        found = [asdict(hit) for hit in hits]
        _print_json({"query": text, "batch_id": batch_id, "hits": found})
        return
    for hit in hits:
        excerpt = " ".join(hit.text.split())
        print(f"{hit.score:.3f}  {hit.doc_id} (chunk {hit.chunk})\n       {excerpt[:160]}")


@app.command()
def verify(batch_id: BatchId, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Check every checksum, and that each document is in the index exactly once."""
    from lesson15.engine.verify import verify as check

    result = check(batch_id, _state_dir(state_dir))
    if as_json:
        _print_json(result.to_dict())
    else:
        print(
            f"{batch_id}: {result.journal_records} journal records, {result.documents} documents, "
            f"{result.chunks} chunks, index {result.index or 'unchecked'}: "
            + ("clean" if result.is_clean else f"{len(result.faults)} faults")
        )
        for fault in result.faults:
            print(f"  {fault}")
    raise typer.Exit(ExitCode.DONE if result.is_clean else ExitCode.FAILURES)


@app.command()
def doctor(state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Check the installation: packages, model weights, and whether state can be written."""
    from lesson15.doctor import examine

    checks = examine(_state_dir(state_dir))
    if as_json:
        _print_json({"ok": all(check["ok"] for check in checks), "checks": checks})
    else:
        for check in checks:
            print(f"{'ok  ' if check['ok'] else 'FAIL'}  {check['name']}: {check['detail']}")
    if not all(check["ok"] for check in checks):
        raise typer.Exit(ExitCode.FAILURES)


def _processor(
    settings: Settings,
    state_dir: Path | None,
    max_concurrent: int | None,
    interval: int | None,
    embedder: EmbedderChoice | None = None,
    store: StoreChoice | None = None,
) -> BatchProcessor:
    from lesson15.engine.processor import BatchProcessor

    return BatchProcessor(
        max_concurrent or settings.max_concurrent,
        interval or settings.checkpoint_interval,
        state_dir=_state_dir(state_dir),
        embedder=embedder.value if embedder else None,
        store=store.value if store else None,
        settings=settings,
    )


def _drive(processor: BatchProcessor, batch_id: str, work: Any, as_json: bool) -> NoReturn:  # noqa: FBT001, RUF100 - internal
    """Run ``work`` with a progress bar; Ctrl-C cancels once, kills the second time."""
    import asyncio

    from lesson15.progress_bar import progress_bar

    async def main() -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, _stop, processor, loop)
        report: dict[str, Any] = await work
        return report

    try:
        with progress_bar(processor, is_shown=not as_json and sys.stderr.isatty()):
            report = asyncio.run(main())
    except (StorageError, EmbeddingModelError) as error:
        _print_aborted(processor, batch_id, error, as_json)
        raise typer.Exit(ExitCode.RESUMABLE) from error
    _print_report(report, as_json, _resume_hint(processor, batch_id))
    if report["status"] not in (BatchStatus.FINISHED, BatchStatus.RUNNING):
        raise typer.Exit(ExitCode.RESUMABLE)
    is_clean = not report["failed_docs"] and not report["skipped_docs"]
    raise typer.Exit(ExitCode.DONE if is_clean else ExitCode.FAILURES)


def _stop(processor: BatchProcessor, loop: Any) -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(name)
        signal.signal(name, signal.SIG_DFL)  # the next one ends the process at once
    print("\nStopping after a last checkpoint; press Ctrl-C again to quit now.", file=sys.stderr)
    processor.cancel()


def _resume_hint(processor: BatchProcessor, batch_id: str) -> str:
    return f"lesson15 resume {batch_id} --state-dir {processor.checkpoints.checkpoint_dir}"


def _print_report(report: dict[str, Any], as_json: bool, hint: str) -> None:  # noqa: FBT001, RUF100 - internal
    if as_json:
        _print_json(report)
        return
    print(
        f"{report['batch_id']}: {report['status']}, {report['processed_docs']} of "
        f"{report['total_docs']} documents done ({report['chunks']} chunks), "
        f"{report['failed_docs']} failed, {report['skipped_docs']} skipped, "
        f"{report['seconds']:.1f} s"
    )
    for failure in report["failures"]:
        print(f"  {failure['error']} (attempts: {failure['attempts']})")
    if report["status"] != BatchStatus.FINISHED:
        print(f"To go on: {hint}")


def _print_aborted(
    processor: BatchProcessor,
    batch_id: str,
    error: Lesson15Error,
    as_json: bool,  # noqa: FBT001, RUF100 - internal
) -> None:
    hint = _resume_hint(processor, batch_id)
    print(f"Aborted: {error}\nTo go on: {hint}", file=sys.stderr)
    if not as_json:
        return
    found = processor.checkpoints.try_load(batch_id)
    state = found if isinstance(found, BatchState) else BatchState(batch_id)
    _print_json(BatchReport.of(state, BatchStatus.ABORTED, [], str(error)).to_dict())


def _view(manager: CheckpointManager, state: BatchState) -> dict[str, Any]:
    """A batch as ``status`` and ``list`` show it."""
    is_live = is_locked(manager.folder(state.batch_id))
    shown = state.status.value
    if state.status is BatchStatus.RUNNING and not is_live:
        shown = "interrupted"
    eta = None
    left = state.total_docs - state.settled_docs
    if not left:
        eta = 0.0
    elif is_live and state.settled_docs and state.last_checkpoint:
        eta = left * (state.last_checkpoint - state.start_time) / state.settled_docs
    return {
        "batch_id": state.batch_id,
        "status": shown,
        "total_docs": state.total_docs,
        "processed_docs": state.processed_docs,
        "failed_docs": state.failed_docs,
        "skipped_docs": state.skipped_docs,
        "progress_percent": round(state.current_progress, 2),
        "eta": eta,
        "chunks": state.chunks,
        "start_time": state.start_time,
        "last_checkpoint": state.last_checkpoint,
    }


def _state_dir(given: Path | None) -> Path:
    return given if given is not None else Settings().state_dir


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps(content, ensure_ascii=False))


def _configure_logs() -> None:
    """LESSON15_LOG_LEVEL decides; on a terminal, where the report says it all, errors only."""
    default = "ERROR" if sys.stderr.isatty() else "WARNING"
    log_to_stderr(os.environ.get("LESSON15_LOG_LEVEL", default))


def main() -> None:
    """Entry point: errors that the user can mend are one line, without a traceback."""
    from pydantic import ValidationError

    _configure_logs()
    try:
        app()
    except UsageError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(ExitCode.USAGE)
    except (StorageError, EmbeddingModelError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(ExitCode.RESUMABLE)
    except ValidationError as error:
        for fault in error.errors():
            name = "LESSON15_" + "_".join(map(str, fault["loc"])).upper()
            print(f"Error: {name}={fault['input']!r}: {fault['msg']}", file=sys.stderr)
        sys.exit(ExitCode.USAGE)


if __name__ == "__main__":
    main()
