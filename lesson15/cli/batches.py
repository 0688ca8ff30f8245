"""Commands that work on a batch: run, resume, retry-failed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lesson15.checkpoint.layout import BatchFolder
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.cli.common import (
    AsJson,
    BatchId,
    Broker,
    ChunkChars,
    Chunker,
    ChunkOverlap,
    Embedder,
    ExitCode,
    Interval,
    MaxConcurrent,
    StateDir,
    Steps,
    Store,
    app,
    print_json,
    state_folder,
)
from lesson15.cli.ends import how_to_go_on, named, quit_now
from lesson15.cli.faults import Faults, faults_of
from lesson15.cli.reports import print_report
from lesson15.cli.sources import (
    Exclude,
    FilesFrom,
    Gitignore,
    Include,
    NullSeparated,
    check_sources,
    list_again,
    rules_of,
)
from lesson15.cli.workers import distributed_processor
from lesson15.errors import (
    BatchNotFoundError,
    EmbeddingModelError,
    Lesson15Error,
    StorageError,
    UsageError,
)
from lesson15.models import BatchReport, BatchState, BatchStatus, ScanRules
from lesson15.notifications import BatchEnded, check_notifiers, notify
from lesson15.settings import Settings
from lesson15.terminal import printable

if TYPE_CHECKING:
    from lesson15.distributed import DistributedProcessor
    from lesson15.engine.processor import BatchProcessor
    from lesson15.faults import FaultControl, FaultPlan

    Processor = BatchProcessor | DistributedProcessor


@app.command()
def run(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="Files or folders.")
    ] = None,
    batch_id: Annotated[str | None, typer.Option(help="Name of the batch.")] = None,
    state_dir: StateDir = None,
    max_concurrent: MaxConcurrent = None,
    checkpoint_interval: Interval = None,
    embedder: Embedder = None,
    store: Store = None,
    chunker: Chunker = None,
    step: Steps = None,
    chunk_chars: ChunkChars = None,
    chunk_overlap_chars: ChunkOverlap = None,
    include: Include = None,
    exclude: Exclude = None,
    gitignore: Gitignore = False,
    files_from: FilesFrom = None,
    null_separated: NullSeparated = False,
    faults: Faults = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Have workers do it (lesson15 worker).")
    ] = False,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Process documents as a new batch."""
    settings = _settings(chunker, step, chunk_chars, chunk_overlap_chars)
    rules = rules_of(include, exclude, gitignore, files_from, null_separated)
    paths = check_sources(paths, rules)
    from lesson15.checkpoint.layout import new_batch_id

    batch_id = batch_id or new_batch_id()
    if broker and not distributed:
        raise UsageError(problem="--broker needs --distributed: only workers use a broker.")
    if faults and distributed:
        raise _faults_are_local()
    limits = state_dir, max_concurrent, checkpoint_interval
    processor: Processor = (
        distributed_processor(broker, *limits, embedder, store, settings, rules)
        if distributed
        else _processor(
            settings, *limits, faults_of(faults, state_dir, batch_id), embedder, store, rules
        )
    )
    _drive(processor, batch_id, processor.process_batch(paths, batch_id), as_json)


@app.command()
def resume(
    batch_id: BatchId,
    state_dir: StateDir = None,
    max_concurrent: MaxConcurrent = None,
    checkpoint_interval: Interval = None,
    broker: Broker = None,
    faults: Faults = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Drop documents that are gone, however many they are.")
    ] = False,
    files_from: FilesFrom = None,
    null_separated: NullSeparated = False,
    reembed: Annotated[
        bool,
        typer.Option(
            "--reembed",
            help="Do everything again, with the options below in place of what the batch was made "
            "with; searches find the old until the new is whole.",
        ),
    ] = False,
    embedder: Embedder = None,
    store: Store = None,
    chunker: Chunker = None,
    step: Steps = None,
    chunk_chars: ChunkChars = None,
    chunk_overlap_chars: ChunkOverlap = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a batch; a finished one is only looked over for changed files.

    Without --reembed, an embedder, store, chunker, step or size of chunks that differs from what
    the batch was made with is an error.
    """
    limits = state_dir, max_concurrent, checkpoint_interval
    settings = _settings(chunker, step, chunk_chars, chunk_overlap_chars)
    processor: Processor
    if BatchFolder.of(state_folder(state_dir), batch_id).shards.is_dir():
        if faults:
            raise _faults_are_local()
        processor = distributed_processor(broker, *limits, embedder, store, settings)
    else:
        chosen = faults_of(faults, state_dir, batch_id)
        processor = _processor(settings, *limits, chosen, embedder, store)
    if reembed and files_from is not None:
        raise UsageError(
            problem="--reembed does what the batch is made of again: resume it with --files-from "
            "first, then --reembed."
        )
    if reembed:
        work = processor.resume_batch(batch_id, prune=prune, reembed=True)
    elif files_from is None:
        work = processor.resume_batch(batch_id, prune=prune)
    else:
        listed = list_again(files_from, null_separated)
        work = processor.process_batch(listed, batch_id, resume=True, prune=prune)
    _drive(processor, batch_id, work, as_json, " --reembed" if reembed else "")


@app.command("retry-failed")
def retry_failed(
    batch_id: BatchId,
    state_dir: StateDir = None,
    max_concurrent: MaxConcurrent = None,
    checkpoint_interval: Interval = None,
    faults: Faults = None,
    as_json: AsJson = False,
) -> None:
    """Work on the dead-letter list of a batch again."""
    chosen = faults_of(faults, state_dir, batch_id)
    processor = _processor(Settings(), state_dir, max_concurrent, checkpoint_interval, chosen)
    _drive(processor, batch_id, processor.retry_failed(batch_id), as_json)


def _settings(
    chunker: str | None,
    steps: list[str] | None,
    chunk_chars: int | None,
    chunk_overlap_chars: int | None,
) -> Settings:
    """The settings, with what was given by options in place of what the environment says."""
    options = {
        "chunker": chunker,
        "steps": tuple(steps) if steps else None,
        "chunk_chars": chunk_chars,
        "chunk_overlap_chars": chunk_overlap_chars,
    }
    given = {name: value for name, value in options.items() if value is not None}
    return Settings().model_copy(update=given)


def _processor(
    settings: Settings,
    state_dir: Path | None,
    max_concurrent: int | None,
    interval: int | None,
    faults: FaultPlan | FaultControl | None,
    embedder: str | None = None,
    store: str | None = None,
    rules: ScanRules | None = None,
) -> BatchProcessor:
    from lesson15.engine.processor import BatchProcessor

    return BatchProcessor(
        max_concurrent or settings.max_concurrent,
        interval or settings.checkpoint_interval,
        state_dir=state_folder(state_dir),
        embedder=embedder,
        store=store,
        settings=settings,
        faults=faults,
        rules=rules,
    )


def _faults_are_local() -> UsageError:
    return UsageError(problem="--faults strikes in this process: workers cannot be given any.")


def _drive(
    processor: Processor,
    batch_id: str,
    work: Any,
    as_json: bool,  # noqa: FBT001, RUF100 - internal
    options: str = "",
) -> NoReturn:
    """Run ``work`` with a progress bar; Ctrl-C cancels once, kills the second time.

    ``options`` are those that a resume needs to go on with the same.
    """
    import asyncio

    from lesson15.progress_bar import progress_bar

    check_notifiers(processor.settings)

    async def main() -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, _stop, processor, loop)
        report: dict[str, Any] = await work
        return report

    try:
        with progress_bar(processor, is_shown=not as_json and sys.stderr.isatty()):
            report = asyncio.run(main())
    except (StorageError, EmbeddingModelError, OSError) as error:
        _print_aborted(processor, batch_id, named(error), as_json, options)
        raise typer.Exit(ExitCode.RESUMABLE) from error
    finally:
        work.close()  # if an interrupt came before it was begun
    notify(BatchEnded.of(report), processor.settings)
    _print_report(report, as_json, _resume_hint(processor, batch_id) + options)
    if report["status"] not in (BatchStatus.FINISHED, BatchStatus.RUNNING):
        raise typer.Exit(ExitCode.RESUMABLE)
    hidden = report["run"]["hidden"] if report["run"] else 0
    is_clean = not report["failed_docs"] and not report["skipped_docs"] and not hidden
    raise typer.Exit(ExitCode.DONE if is_clean else ExitCode.FAILURES)


def _stop(processor: Processor, loop: Any) -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(name)
        signal.signal(name, quit_now)  # the next one ends the process at once
    print("\nStopping after a last checkpoint; press Ctrl-C again to quit now.", file=sys.stderr)
    processor.cancel()


def _resume_hint(processor: Processor, batch_id: str) -> str:
    return f"lesson15 resume {batch_id} --state-dir {processor.checkpoint_manager.checkpoint_dir}"


def _print_report(report: dict[str, Any], as_json: bool, hint: str) -> None:  # noqa: FBT001, RUF100 - internal
    if as_json:
        print_json(report)
    else:
        print_report(report, hint)


def _print_aborted(
    processor: Processor,
    batch_id: str,
    error: Lesson15Error,
    as_json: bool,  # noqa: FBT001, RUF100 - internal
    options: str,
) -> None:
    found = processor.checkpoint_manager.try_open(batch_id)
    hint = None
    if not isinstance(found, BatchNotFoundError):  # else it was not even begun
        hint = how_to_go_on(error, batch_id, processor.checkpoint_manager.checkpoint_dir, options)
    print(f"Aborted: {printable(error)}", file=sys.stderr)
    if hint is not None:
        print(f"To go on: {printable(hint)}", file=sys.stderr)
    state = found.state if isinstance(found, StoredBatch) else BatchState(batch_id)
    report = BatchReport.of(state, BatchStatus.ABORTED, [], str(error)).to_dict()
    if as_json:
        print_json(report)
    notify(BatchEnded.of(report), processor.settings)
