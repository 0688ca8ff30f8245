"""BatchProcessor: the front door of the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesson15 import arguments
from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.filesystem import FileSystem, open_file_system
from lesson15.checkpoint.layout import batch_lock, new_batch_id
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.state_files import Manifest, make_folder
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.embedding import Embedder
from lesson15.engine.assembly import Assembly, with_check, with_faults
from lesson15.engine.cancelling import Cancellations, not_active
from lesson15.engine.concurrency import AdaptiveLimit, PressureMonitor
from lesson15.engine.feed import Feed, Naming, Paths, SourcePaths, begun_with, known_total, roots_of
from lesson15.engine.observers import Listener, Observers, ResultCallback
from lesson15.engine.recipe import Recipe
from lesson15.engine.run import BatchRun, Tally
from lesson15.engine.sources import Sources
from lesson15.engine.stages import carry_out, paths_of
from lesson15.engine.steps import ChunkStep
from lesson15.engine.work import DocumentWork
from lesson15.engine.writer import Writer
from lesson15.errors import (
    BatchExistsError,
    BatchNotFoundError,
    UsageError,
)
from lesson15.events import Event
from lesson15.logs import batch_context
from lesson15.models import BatchReport, BatchState, BatchStatus, ScanRules
from lesson15.progress import ProgressCallback, ProgressTracker
from lesson15.recovery import ErrorRecoveryManager
from lesson15.settings import Settings
from lesson15.stores import check_encryptable
from lesson15.stores.catalog import Catalog
from lesson15.threads import to_the_end

if TYPE_CHECKING:
    from lesson15.faults import FaultControl, FaultPlan


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
        rules: which files of a folder are documents; they hold for the whole life of a new batch.
        settings: everything else; the environment (``LESSON15_*``) by default.
        work: what to do to a document instead of indexing it, for other uses of the engine; its
            paths are files, to be scanned and watched for changes, if ``work.reads_files`` is true.
        recovery: the retry policy.
        fs: the file system that commits go through, for crash tests.
        faults: a plan of faults to strike each batch with, or the live control of one batch; see
            :mod:`lesson15.faults`.

    Attributes:
        checkpoint_manager: the batches under ``state_dir``.
        error_recovery: the retry policy.
        recipe: what new batches are made with.
        reads_files: whether documents are files.
        is_strict: whether what ``settings`` were given, beside the arguments, must be what a batch
            was made with for it to be gone on with; if not, it is for new batches. True at first.
        progress_callbacks: called with a :class:`ProgressInfo` after each document.
        result_callbacks: called with the :class:`ProcessingResult` of each document.
        listeners: called with each event of :mod:`lesson15.events`.
        writer_callbacks: called with the :class:`Writer` of a batch before its work begins, for
            those who watch commits.

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
        faults: FaultPlan | FaultControl | None = None,
        chunker: str | None = None,
        steps: Sequence[str | ChunkStep] | None = None,
        rules: ScanRules | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.max_concurrent = arguments.max_concurrent(max_concurrent)
        self.checkpoint_interval = arguments.checkpoint_interval(checkpoint_interval)
        self.checkpoint_manager = CheckpointManager(
            state_dir or self.settings.state_dir,
            fs or open_file_system(self.settings.checkpoint_backend),
            Keyring.of(self.settings),
            makes_folder=False,
        )
        self.error_recovery = recovery or ErrorRecoveryManager(
            self.settings.max_retries,
            self.settings.retry_delay,
            max_retry_after=self.settings.max_retry_after,
        )
        self.recipe = Recipe(self.settings, embedder, store, chunker, steps, rules or ScanRules())
        self.recipe.check()
        self.is_strict = True
        self._work = work
        # The paths of other work than indexing need not be files.
        self.reads_files = work is None or bool(getattr(work, "reads_files", False))
        self._faults = faults
        self._runs: dict[str, BatchRun] = {}
        self._cancellations = Cancellations()
        self.progress_callbacks: list[ProgressCallback] = []
        self.result_callbacks: list[ResultCallback] = []
        self.listeners: list[Listener] = []
        self.writer_callbacks: list[Callable[[Writer], None]] = []

    @property
    def makes_vectors(self) -> bool:
        """Whether the work is that of an index, and not one that the caller gave."""
        return self._work is None

    # --- watching and control -----------------------------------------------------------------

    @property
    def active_batches(self) -> dict[str, BatchState]:
        """The batches that this processor works on now, with their present counts."""
        return {batch_id: run.snapshot() for batch_id, run in self._runs.items()}

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
        """Stop ``batch_id`` (or every active batch); its checkpoint stays, resume continues it.

        One that is still being opened stops as soon as it is open.
        """
        for name in self._cancellations.cancel(batch_id):
            if name in self._runs:
                self._runs[name].cancel()

    def _chosen(self, batch_id: str | None) -> list[BatchRun]:
        if batch_id is None:
            return list(self._runs.values())
        if batch_id not in self._runs:
            raise not_active(batch_id, self._runs)
        return [self._runs[batch_id]]

    # --- running ------------------------------------------------------------------------------

    async def process_batch(
        self,
        doc_paths: Paths,
        batch_id: str | None = None,
        resume: bool = False,
        *,
        prune: bool = False,
    ) -> dict[str, Any]:
        """Process ``doc_paths`` (files, or folders to scan) and return the report.

        With ``resume`` the batch goes on from its checkpoint: settled documents that have not
        changed are left alone, changed ones are done again, deleted ones leave the index. Where
        more is missing than somebody deletes by hand, nothing is done unless ``prune`` allows it:
        see :mod:`lesson15.engine.sources`.

        Returns:
            The keys of :class:`lesson15.models.BatchReport`.

        Raises:
            UsageError: an unknown, existing or locked batch, or settings that do not fit it.
            SourcesMissingError: documents may be lost that are only out of sight.
            StorageError: the system is at fault (disk full, no permission); resume continues.
        """
        doc_paths = arguments.document_paths(doc_paths)
        if resume and batch_id is None:
            raise UsageError(problem="resume needs the batch_id of the batch to go on with.")
        batch_id = batch_id or new_batch_id()
        return await self._open(
            batch_id, doc_paths, is_new=not resume, prune=prune, reads_list=not resume
        )

    async def resume_batch(
        self, batch_id: str, *, prune: bool = False, reembed: bool = False
    ) -> dict[str, Any]:
        """As ``process_batch(..., resume=True)``, on the sources that the batch began with.

        ``reembed`` does everything again, with what this processor was given expressly in place of
        what the batch was made with: see :func:`lesson15.engine.reembed.reembed`.
        """
        if reembed:
            from lesson15.engine.reembed import reembed as do_again

            with self._cancellations.call(batch_id):
                return await do_again(self, batch_id, prune=prune)
        manifest = self.checkpoint_manager.open(batch_id).manifest
        paths = begun_with(manifest, prune=prune)
        return await self._open(batch_id, paths, prune=prune, reads_list=True)

    async def retry_failed(self, batch_id: str) -> dict[str, Any]:
        """Work on the dead-letter list of ``batch_id`` again, and on nothing else."""
        return await self._open(batch_id, None)

    async def redo(self, batch_id: str, doc_ids: Sequence[str]) -> dict[str, Any]:
        """Work on ``doc_ids`` of ``batch_id`` again, changed or not, and on nothing else."""
        return await self._open(batch_id, None, only=doc_ids, prune=True)

    async def work_on(
        self, manager: CheckpointManager, batch_id: str, paths: Paths | None
    ) -> dict[str, Any]:
        """Go on with a batch of ``manager``, or retry what failed in it if ``paths`` is None."""
        return await self._open(batch_id, paths, prune=True, manager=manager)

    def create(
        self, batch_id: str, paths: Paths, manager: CheckpointManager | None = None
    ) -> StoredBatch:
        """Write what makes a new batch resumable; the caller holds its lock.

        ``manager`` is another one than the processor's own, if it is given.

        Raises:
            BatchExistsError: it is there already.
            CheckpointWriteError: the system refused.
        """
        manager = manager or self.checkpoint_manager
        if manager.folder(batch_id).has_batch:  # perhaps made while this process waited
            raise BatchExistsError(batch_id=batch_id, state_dir=manager.checkpoint_dir)
        manifest = self.recipe.manifest(batch_id, paths)
        if manager.keyring.current is not None:
            check_encryptable(manifest.store)
        total = known_total(paths, self.recipe.rules, reads_files=self.reads_files)
        return manager.create(manifest, total)

    async def _open(
        self,
        batch_id: str,
        paths: Paths | None,
        *,
        is_new: bool = False,
        prune: bool = False,
        reads_list: bool = False,
        only: Sequence[str] | None = None,
        manager: CheckpointManager | None = None,
    ) -> dict[str, Any]:
        """Lock the batch, recover it, and run.

        ``paths`` None means the documents with the ids ``only``, or else its dead-letter list;
        ``reads_list`` adds the paths of its list.
        """
        manager = manager or self.checkpoint_manager
        folder = manager.folder(batch_id)
        if folder.has_batch == is_new:
            kind = BatchExistsError if is_new else BatchNotFoundError
            raise kind(batch_id=batch_id, state_dir=manager.checkpoint_dir)
        if is_new:
            make_folder(manager.fs, folder.root)  # for the lock
        async with AsyncExitStack() as stack:
            stack.enter_context(self._cancellations.call(batch_id))
            stack.enter_context(batch_lock(folder))
            stack.callback(batch_context.reset, batch_context.set(batch_id))

            def note(event: Event) -> None:
                self._note(batch_id, event)

            observers = Observers(batch_id, self.listeners, self.result_callbacks)
            parts = Assembly(
                self.settings,
                self.max_concurrent,
                manager.fs,
                self.recipe.embedder,
                self._work,
                steps=self.recipe.steps,
                note=note,
                on_pressure=lambda error: self._runs[batch_id].lower_limit(error),
            )
            if self._faults is not None:
                control = self.checkpoint_manager.folder(batch_id)
                parts = with_faults(parts, self._faults, control, note, stack)
                manager = manager.on(parts.file_system())
            if is_new and paths is not None:
                # In a thread: a remote embedder is asked for its dimensions.
                batch = await to_the_end(self.create, batch_id, paths, manager)
            else:
                batch = await to_the_end(manager.open, batch_id)
            manifest = batch.manifest
            by_settings = self.is_strict and self._work is None
            self.recipe.check_fits(manifest, by_settings=by_settings)
            writer = await to_the_end(
                Writer, batch, manager.fs, self.checkpoint_interval, discard=Writer.close
            )
            stack.push_async_callback(writer.aclose)
            for look in self.writer_callbacks:
                look(writer)
            parts = await with_check(parts, batch, writer.catalog, manager.fs)
            work = parts.document_work(stack, manifest)
            source = None
            if paths is not None:
                source = SourcePaths.of(paths, manifest, reads_list=reads_list)
            sources = Sources(
                batch_id, Naming(manifest.base_dir), roots_of(manifest, paths),
                reads_files=self.reads_files, prune=prune,
            )  # fmt: skip
            tally = Tally(writer.state)
            report = await self._run(
                stack,
                manifest,
                writer,
                work,
                observers,
                source,
                sources,
                tally,
                is_new=is_new,
                only=only,
            )
            if report.status is BatchStatus.FINISHED:
                await writer.save_index(lambda: parts.store(manifest, batch.folder, batch.cipher))
            tally.stop()
            return report.to_dict()

    def _note(self, batch_id: str, event: Event) -> None:
        """Put a fault on record; one that strikes before the run or after it is only told."""
        run = self._runs.get(batch_id)
        if run is not None:
            run.note(event)
        else:
            Observers(batch_id, self.listeners, []).tell(event)

    async def _run(
        self,
        stack: AsyncExitStack,
        manifest: Manifest,
        writer: Writer,
        work: DocumentWork,
        observers: Observers,
        source: SourcePaths | None,
        sources: Sources,
        tally: Tally,
        *,
        is_new: bool,
        only: Sequence[str] | None,
    ) -> BatchReport:
        """Work ``source`` off, or the dead-letter list if there is none."""
        batch_id = manifest.batch_id
        catalog = Catalog(writer.files.folder.catalog, writer.files.cipher)
        stack.callback(catalog.close)
        naming = Naming(manifest.base_dir)
        paths = paths_of(source, sources, naming, catalog, only)
        feed = Feed(paths, naming, catalog, sources.fingerprint, is_forced=source is None)
        writer.on_commit.append(feed.committed)
        writer.on_commit.append(observers.tell_durable)
        limit = AdaptiveLimit(self.max_concurrent)
        settings = self.settings
        monitor = PressureMonitor(limit, settings.memory_low_fraction, settings.loop_lag_limit)
        state = writer.state
        progress = ProgressTracker(state.total_docs, batch_id)
        progress.start_from(state.processed_docs, state.failed_docs + state.skipped_docs)
        progress.callbacks.extend(self.progress_callbacks)
        run = BatchRun(
            writer, feed, work, self.error_recovery, limit, monitor, progress, observers,
            sources, tally,
        )  # fmt: skip
        run.is_cancelled = self._cancellations.has(batch_id)
        limit.on_change = run.note_limit
        self._runs[batch_id] = run
        stack.callback(self._runs.pop, batch_id)
        return await carry_out(run, observers, source, paths, sources, tally, is_new=is_new)
