"""BatchProcessor: the front door of the engine."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesson15.checkpoint.batch_log import BatchLog
from lesson15.checkpoint.documents import Manifest
from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.filesystem import FileSystem, open_file_system
from lesson15.checkpoint.journal import Record
from lesson15.checkpoint.layout import batch_lock
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.documents.chunkers import check_chunker, open_chunker
from lesson15.documents.scan import scan
from lesson15.embedding import Embedder, check_embedder, dimensions_of
from lesson15.engine.assembly import Assembly, with_faults
from lesson15.engine.concurrency import AdaptiveLimit, PressureMonitor
from lesson15.engine.feed import Feed, Naming, file_fingerprint
from lesson15.engine.ledger import Ledger
from lesson15.engine.run import BatchRun, Listener, announce
from lesson15.engine.steps import ChunkStep, check_steps, name_of, open_steps
from lesson15.engine.work import DocumentWork
from lesson15.errors import (
    BatchExistsError,
    BatchNotFoundError,
    CheckpointWriteError,
    SettingsMismatchError,
    UsageError,
)
from lesson15.logs import batch_context, get_logger
from lesson15.models import BatchReport, BatchState, BatchStatus
from lesson15.progress import ProgressCallback, ProgressTracker
from lesson15.recovery import ErrorRecoveryManager, classify
from lesson15.settings import Settings
from lesson15.stores import check_encryptable, check_store
from lesson15.stores.catalog import Catalog

if TYPE_CHECKING:
    from lesson15.faults import FaultControl, FaultPlan

Paths = Iterable[str | os.PathLike[str]]
log = get_logger(__name__)


class BatchProcessor:
    """Processes batches of documents with checkpoint and resume.

    Args:
        max_concurrent: documents in work at once, at most; the engine goes lower under pressure.
        checkpoint_interval: documents between two checkpoints.
        state_dir: folder of all batches' state.
        embedder: "minilm", "hashing", the name of a plugin, or an object with the
            :class:`Embedder` protocol.
        store: "faiss", "chroma" or the name of a plugin.
        chunker: "default" or the name of a plugin.
        steps: what is done to the chunks of a document before they are embedded, in order: names
            of plugins, or functions (see :mod:`lesson15.engine.steps`).
        settings: everything else; the environment (``LESSON15_*``) by default.
        work: what to do to a document instead of indexing it, for other uses of the engine.
        recovery: the retry policy.
        fs: the file system that commits go through, for crash tests.
        faults: a plan of faults to strike each batch with, or the live control of one batch; see
            :mod:`lesson15.faults`.

    Example:
        >>> processor = BatchProcessor(max_concurrent=4)
        >>> report = await processor.process_batch(["data/sample_docs"], "monday")
        >>> report["processed_docs"]
        50
    """

    def __init__(
        self,
        max_concurrent: int = 10,
        checkpoint_interval: int = 10,
        *,
        state_dir: Path | str | None = None,
        embedder: str | Embedder | None = None,
        store: str | None = None,
        settings: Settings | None = None,
        work: DocumentWork | None = None,
        recovery: ErrorRecoveryManager | None = None,
        fs: FileSystem | None = None,
        fingerprint: Callable[[str], list[int] | None] = file_fingerprint,
        faults: FaultPlan | FaultControl | None = None,
        chunker: str | None = None,
        steps: Sequence[str | ChunkStep] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.max_concurrent = _positive("max_concurrent", max_concurrent)
        self.checkpoint_interval = _positive("checkpoint_interval", checkpoint_interval)
        self._fs = fs or open_file_system(self.settings.checkpoint_backend)
        self.checkpoints = CheckpointManager(
            state_dir or self.settings.state_dir, self._fs, Keyring.of(self.settings)
        )
        if embedder is None or isinstance(embedder, str):
            check_embedder(embedder or self.settings.embedder)
        check_store(store or self.settings.store)
        check_chunker(chunker or self.settings.chunker)
        check_steps(self.settings.steps if steps is None else steps)
        self._chunker = chunker
        self._steps = steps
        self._step_names = None if steps is None else tuple(map(name_of, steps))
        self._embedder = embedder
        self._store = store
        self._work = work
        self._recovery = recovery
        self._fingerprint = fingerprint
        self._faults = faults
        self._runs: dict[str, BatchRun] = {}
        self.progress_callbacks: list[ProgressCallback] = []
        self.listeners: list[Listener] = []

    # --- watching and control -----------------------------------------------------------------

    @property
    def active_batches(self) -> dict[str, BatchState]:
        """The batches that this processor works on now, with their present counts."""
        return {batch_id: run.ledger.log.snapshot() for batch_id, run in self._runs.items()}

    def progress(self, batch_id: str) -> ProgressTracker | None:
        """The tracker of an active batch."""
        run = self._runs.get(batch_id)
        return run.progress if run else None

    def pause(self, batch_id: str | None = None) -> None:
        """Let ``batch_id`` (or every active batch) take no further documents until unpaused."""
        for run in self._chosen(batch_id):
            run.pause()

    def unpause(self, batch_id: str | None = None) -> None:
        """Let ``batch_id`` (or every active batch) go on."""
        for run in self._chosen(batch_id):
            run.unpause()

    def cancel(self, batch_id: str | None = None) -> None:
        """Stop ``batch_id`` (or every active batch); its checkpoint stays, resume continues it."""
        for run in self._chosen(batch_id):
            run.cancel()

    def _chosen(self, batch_id: str | None) -> list[BatchRun]:
        if batch_id is None:
            return list(self._runs.values())
        if batch_id not in self._runs:
            raise UsageError(
                problem=f"Batch {batch_id!r} is not active. Active now: {sorted(self._runs)}."
            )
        return [self._runs[batch_id]]

    # --- running ------------------------------------------------------------------------------

    async def process_batch(
        self, doc_paths: Paths, batch_id: str | None = None, resume: bool = False
    ) -> dict[str, Any]:
        """Process ``doc_paths`` (files, or folders to scan) and return the report.

        With ``resume`` the batch goes on from its checkpoint: settled documents that have not
        changed are left alone, changed ones are done again, vanished ones leave the index.

        Returns:
            The keys of :class:`lesson15.models.BatchReport`.

        Raises:
            UsageError: an unknown, existing or locked batch, or settings that do not fit it.
            StorageError: the system is at fault (disk full, no permission); resume continues.
        """
        if isinstance(doc_paths, str | os.PathLike):
            doc_paths = [doc_paths]
        if resume:
            if batch_id is None:
                raise UsageError(problem="resume needs the batch_id of the batch to go on with.")
            return await self._open(batch_id, doc_paths)
        batch_id = batch_id or new_batch_id()
        folder = self.checkpoints.folder(batch_id)
        if folder.has_batch:
            raise self._exists(batch_id)
        try:
            self._fs.make_folder(folder.root)
        except OSError as error:
            raise CheckpointWriteError(path=folder.root, detail=error) from error
        return await self._open(batch_id, doc_paths, is_new=True)

    async def resume_batch(self, batch_id: str) -> dict[str, Any]:
        """As ``process_batch(..., resume=True)``, on the sources that the batch began with."""
        manifest = self.checkpoints.load_manifest(batch_id)
        if manifest.sources is None:
            raise UsageError(
                problem=f"Batch {batch_id!r} was fed by a stream: resume it with "
                "process_batch(doc_paths, batch_id, resume=True)."
            )
        naming = Naming(manifest.base_dir)
        paths = [naming.path(source) for source in manifest.sources]
        return await self._open(batch_id, list(filter(os.path.exists, paths)))

    async def retry_failed(self, batch_id: str) -> dict[str, Any]:
        """Work on the dead-letter list of ``batch_id`` again, and on nothing else."""
        return await self._open(batch_id, None)

    def _exists(self, batch_id: str) -> BatchExistsError:
        return BatchExistsError(batch_id=batch_id, state_dir=self.checkpoints.checkpoint_dir)

    async def _open(
        self, batch_id: str, paths: Paths | None, *, is_new: bool = False
    ) -> dict[str, Any]:
        folder = self.checkpoints.folder(batch_id)
        if not is_new and not folder.has_batch:
            raise BatchNotFoundError(batch_id=batch_id, state_dir=self.checkpoints.checkpoint_dir)
        async with AsyncExitStack() as stack:
            stack.enter_context(batch_lock(folder))
            stack.callback(batch_context.reset, batch_context.set(batch_id))
            parts = Assembly(
                self.settings,
                self.max_concurrent,
                self._fs,
                self._embedder,
                self._work,
                steps=self._steps,
            )
            if self._faults is not None:
                parts = with_faults(
                    parts, self._faults, folder, partial(self._note_fault, batch_id), stack
                )
            fs = parts.file_system()
            checkpoints = CheckpointManager(
                self.checkpoints.checkpoint_dir, fs, self.checkpoints.keyring
            )
            if is_new:
                if folder.has_batch:  # made while this process waited for the lock
                    raise self._exists(batch_id)
                assert paths is not None  # noqa: S101 - a new batch has a source
                self.create(checkpoints, batch_id, paths)
            manifest = self._check(self.checkpoints.load_manifest(batch_id))
            batch_log = await asyncio.to_thread(BatchLog, checkpoints, batch_id, fs)
            folder, cipher = batch_log.folder, batch_log.cipher
            try:
                catalog = await asyncio.to_thread(
                    Catalog.recover, folder, batch_log.committed, cipher
                )
            except BaseException:
                batch_log.close()
                raise
            ledger = Ledger(
                batch_log,
                catalog,
                lambda: parts.store(manifest, folder, cipher),
                self.checkpoint_interval,
            )
            stack.push_async_callback(ledger.aclose)
            await ledger.in_thread(ledger.check_segment)
            work = parts.document_work(stack, manifest)
            return await self._run(stack, manifest, ledger, work, paths, is_new=is_new)

    def _note_fault(self, batch_id: str, record: Record) -> None:
        """Put a fault on record; one that strikes before the run or after it is only announced."""
        run = self._runs.get(batch_id)
        if run is not None:
            run.note(record)
        else:
            announce(self.listeners, record)

    def create(self, checkpoints: CheckpointManager, batch_id: str, paths: Paths) -> None:
        """Write what makes the batch resumable, under its lock: manifest, then empty checkpoint."""
        embedder = self._embedder or self.settings.embedder
        name = embedder if isinstance(embedder, str) else embedder.name
        dimensions = dimensions_of(name) if isinstance(embedder, str) else embedder.dimensions
        sources = [os.fspath(path) for path in paths] if isinstance(paths, Sequence) else None
        manifest = Manifest(
            batch_id=batch_id,
            created_at=datetime.now(UTC),
            base_dir=str(Path.cwd()),
            sources=sources,
            embedder=name,
            dimensions=dimensions,
            store=self._store or self.settings.store,
            chunk_chars=self.settings.chunk_chars,
            chunk_overlap_chars=self.settings.chunk_overlap_chars,
            chunker=self._chunker or self.settings.chunker,
            steps=self.settings.steps if self._step_names is None else self._step_names,
        )
        open_chunker(manifest.chunker)  # a broken plugin leaves no batch behind
        open_steps(manifest.steps if self._steps is None else self._steps, 1)
        if checkpoints.keyring.current is not None:
            check_encryptable(manifest.store)
        checkpoints.save_manifest(manifest)
        total = len(paths) if isinstance(paths, Sized) else 0
        checkpoints.save_checkpoint(BatchState(batch_id, total_docs=total))

    def _check(self, manifest: Manifest) -> Manifest:
        """Raise SettingsMismatchError if what was asked for does not fit the batch."""
        embedder = self._embedder
        if embedder is not None and not isinstance(embedder, str):
            embedder = embedder.name
        for name, stored, given in (
            ("embedder", manifest.embedder, embedder),
            ("store", manifest.store, self._store),
            ("chunker", manifest.chunker, self._chunker),
            ("steps", manifest.steps, self._step_names),
        ):
            if given is not None and given != stored:
                raise SettingsMismatchError(
                    batch_id=manifest.batch_id, name=name, stored=stored, given=given
                )
        return manifest

    async def _run(
        self,
        stack: AsyncExitStack,
        manifest: Manifest,
        ledger: Ledger,
        work: DocumentWork,
        paths: Paths | None,
        *,
        is_new: bool,
    ) -> dict[str, Any]:
        state = ledger.log.state
        status_before = state.status
        feed_catalog = Catalog(ledger.log.folder.catalog, ledger.log.cipher)
        stack.callback(feed_catalog.close)
        naming = Naming(manifest.base_dir)
        is_retry = paths is None
        if paths is None:
            source: Iterable[Any] = (
                naming.path(row.doc_id) for row in feed_catalog.scan_failures()
            )
        elif self._work is not None:
            source = paths  # other work than indexing: the paths need not be files
        else:
            source = scan(paths)
        limit = AdaptiveLimit(self.max_concurrent)
        progress = ProgressTracker(state.total_docs, state.batch_id)
        progress.start_from(state.processed_docs, state.failed_docs + state.skipped_docs)
        progress.callbacks.extend(self.progress_callbacks)
        run = BatchRun(
            ledger=ledger,
            feed=Feed(source, naming, feed_catalog, self._fingerprint, is_forced=is_retry),
            work=work,
            recovery=self._recovery
            or ErrorRecoveryManager(
                self.settings.max_retries,
                self.settings.retry_delay,
                on_pressure=lambda: limit.lower("a document ran out of memory"),
            ),
            limit=limit,
            monitor=PressureMonitor(
                limit, self.settings.memory_low_fraction, self.settings.loop_lag_limit
            ),
            progress=progress,
            listeners=self.listeners,
            fingerprint=self._fingerprint,
        )
        self._runs[state.batch_id] = run
        stack.callback(self._runs.pop, state.batch_id)
        if isinstance(paths, Sequence) and self._work is None:
            counter = asyncio.create_task(_count(paths, run))
            stack.callback(counter.cancel)
        try:
            if is_retry:  # a file that is gone has not failed again
                await run.remove_vanished("status = 'failed'")
            await run.work_off()
            if run.is_cancelled:
                await run.finish(BatchStatus.CANCELLED)
            else:
                if not is_new and not is_retry and self._work is None:
                    await run.remove_vanished("status <> 'skipped'")
                keeps = is_retry and status_before is not BatchStatus.FINISHED
                await run.finish(status_before if keeps else BatchStatus.FINISHED)
                await ledger.save_index()
        except asyncio.CancelledError:
            await run.finish(BatchStatus.CANCELLED)
            raise
        except Exception as error:
            log.error(  # noqa: TRY400 - the caller gets the exception; the log gets one line
                "batch aborted",
                policy=classify(error).name,
                error=str(error),
            )
            raise
        return await ledger.in_thread(_report, ledger)


async def _count(paths: Paths, run: BatchRun) -> None:
    """Count the source in a thread, for percentages and ETA."""
    total = await asyncio.to_thread(lambda: sum(1 for _ in scan(paths)))
    await run.ledger.settled()
    run.note_total(total)


def _report(ledger: Ledger) -> dict[str, Any]:
    state = ledger.log.state
    return BatchReport.of(state, state.status, ledger.catalog.failures()).to_dict()


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise UsageError(problem=f"{name}={value} is too small: give at least 1.")
    return value


def new_batch_id() -> str:
    """A fresh id that sorts by time."""
    return f"batch-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
