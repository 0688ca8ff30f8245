"""DistributedProcessor: the engine's front door, for batches that many machines work on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from lesson15 import arguments
from lesson15.checkpoint.filesystem import OsFileSystem
from lesson15.checkpoint.layout import batch_lock, new_batch_id
from lesson15.distributed.coordinator import Coordinator, Listener
from lesson15.distributed.merge import Merge
from lesson15.distributed.plan import plan
from lesson15.distributed.queue import CeleryQueue, ShardQueue, ShardTask, chosen_broker
from lesson15.distributed.shards import Shards
from lesson15.documents.scan import Scan
from lesson15.engine.feed import STANDARD_INPUT, Naming, Paths, SourcePaths, begun_with, roots_of
from lesson15.engine.processor import BatchProcessor
from lesson15.engine.sources import Sources
from lesson15.errors import (
    BatchExistsError,
    BatchNotFoundError,
    CheckpointWriteError,
    UsageError,
)
from lesson15.models import BatchStatus, RunSummary, ScanRules
from lesson15.progress import ProgressCallback, ProgressTracker
from lesson15.settings import Settings
from lesson15.threads import to_the_end

_POLL_SECONDS = 0.1


class DistributedProcessor:
    """Cuts batches into shards, has workers (``lesson15 worker``) do them, and merges the result.

    The batch that it leaves is a normal one: all that works on a batch works on it.

    Args:
        broker_url: ``redis://...`` or ``amqp://...``; ``LESSON15_BROKER_URL`` by default.
        max_concurrent: documents that each worker works on at once, at most.
        checkpoint_interval: documents of a shard between two checkpoints.
        state_dir: folder of all batches' state, which every worker must see too.
        embedder: "minilm" or "hashing".
        store: "faiss" or "chroma".
        settings: everything else; the environment (``LESSON15_*``) by default.
        queue: another way to reach workers, for tests.
        rules: which files of a folder are documents; they hold for the whole life of a new batch.

    Example:
        >>> processor = DistributedProcessor("redis://localhost", state_dir="/mnt/state")
        >>> report = await processor.process_batch(["/mnt/docs"], "monday")
    """

    def __init__(
        self,
        broker_url: str | None = None,
        max_concurrent: int = 10,
        checkpoint_interval: int = 10,
        *,
        state_dir: Path | str | None = None,
        embedder: str | None = None,
        store: str | None = None,
        settings: Settings | None = None,
        queue: ShardQueue | None = None,
        rules: ScanRules | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self._local = BatchProcessor(
            max_concurrent,
            checkpoint_interval,
            state_dir=state_dir,
            embedder=embedder,
            store=store,
            settings=self.settings,
            rules=rules,
        )
        self.checkpoint_manager = self._local.checkpoint_manager
        self._queue = queue or CeleryQueue(chosen_broker(broker_url or self.settings.broker_url))
        self._is_cancelled = False
        self.progress_callbacks: list[ProgressCallback] = []
        self.listeners: list[Listener] = []

    def cancel(self) -> None:
        """Stop: workers are told, what they have committed is kept, resume goes on."""
        self._is_cancelled = True

    async def process_batch(
        self,
        doc_paths: Paths,
        batch_id: str | None = None,
        resume: bool = False,
        *,
        prune: bool = False,
    ) -> dict[str, Any]:
        """Process ``doc_paths`` (files or folders that every worker sees) and return the report.

        Returns:
            The keys of :class:`lesson15.models.BatchReport`.

        Raises:
            UsageError: an unknown, existing or locked batch.
            SourcesMissingError: documents may be lost that are only out of sight; ``prune`` drops
                them.
            BrokerUnavailableError: the broker cannot be reached; resume goes on.
            StorageError: the shared storage is at fault; resume goes on.
        """
        doc_paths = arguments.document_paths(doc_paths)
        if self._local.recipe.rules.files_from == STANDARD_INPUT and not resume:
            raise UsageError(problem="A distributed batch needs a list that can be read again: "
                             "write it to a file for --files-from.")  # fmt: skip
        if not isinstance(doc_paths, Sequence):
            doc_paths = list(doc_paths)  # planned again by another process after a crash
        if resume and batch_id is None:
            raise UsageError(problem="resume needs the batch_id of the batch to go on with.")
        batch_id = batch_id or new_batch_id()
        folder = self.checkpoint_manager.folder(batch_id)
        exists = folder.has_batch
        state_dir = self.checkpoint_manager.checkpoint_dir
        if exists and not resume:
            raise BatchExistsError(batch_id=batch_id, state_dir=state_dir)
        if resume and not exists:
            raise BatchNotFoundError(batch_id=batch_id, state_dir=state_dir)
        try:
            OsFileSystem().make_folder(folder.root)
            with batch_lock(folder):
                if not resume:
                    self._local.create(batch_id, doc_paths)
                shards = Shards(folder, self.checkpoint_manager.keyring)
                report = await self._run(batch_id, doc_paths, shards, prune=prune)
        except OSError as error:
            raise CheckpointWriteError(path=error.filename or folder.root, detail=error) from error
        if resume and report["status"] == BatchStatus.FINISHED:
            # What changed or vanished since it was settled is seen to here, as in any resume.
            return await self._local.process_batch(doc_paths, batch_id, resume=True, prune=prune)
        return report

    async def resume_batch(
        self, batch_id: str, *, prune: bool = False, reembed: bool = False
    ) -> dict[str, Any]:
        """As ``process_batch(..., resume=True)``, on the sources that the batch began with.

        Workers cannot ``reembed``: a finished batch is a normal one, which :class:`BatchProcessor`
        does again.
        """
        if reembed:
            raise UsageError(
                problem=f"Workers cannot do batch {batch_id!r} again: resume it to its end without "
                "--reembed, then run `lesson15 resume --reembed` on one machine."
            )
        manifest = self.checkpoint_manager.open(batch_id).manifest
        paths = begun_with(manifest, prune=prune)
        return await self.process_batch(paths, batch_id, resume=True, prune=prune)

    async def _run(
        self, batch_id: str, paths: Sequence[Any], shards: Shards, *, prune: bool
    ) -> dict[str, Any]:
        started = time.monotonic()
        async with AsyncExitStack() as stack:
            shards.prepare()
            merge = await Merge.open(self.checkpoint_manager, batch_id)
            stack.push_async_callback(merge.aclose)
            await to_the_end(merge.identify)
            naming = Naming(merge.manifest.base_dir)
            sources = Sources(batch_id, naming, roots_of(merge.manifest, paths), prune=prune)
            await to_the_end(sources.check, merge.catalog)  # before anything is changed
            source = SourcePaths.of(paths, merge.manifest, reads_list=True)
            found = Scan(source, source.rules)
            before = replace(merge.state)
            coordinator = Coordinator(
                merge,
                shards,
                self._queue,
                plan(
                    iter(found),
                    naming,
                    merge.catalog,
                    self.settings.shard_docs,
                    least_docs=2 * self._local.max_concurrent,
                ),
                ShardTask(
                    batch_id=batch_id,
                    max_concurrent=self._local.max_concurrent,
                    checkpoint_interval=self._local.checkpoint_interval,
                    lease_seconds=self.settings.lease_seconds,
                ),
                self.settings.broker_patience,
            )
            coordinator.listeners = self.listeners
            await to_the_end(self._queue.waiting)  # a broker that is not there is told now
            await to_the_end(coordinator.take_over_leftovers)
            await self._drive(coordinator, merge, source)
            status = BatchStatus.FINISHED
            if self._is_cancelled:
                status = BatchStatus.CANCELLED
                await to_the_end(coordinator.stop)
            report = await merge.finish(status, time.monotonic() - started)
            report.run = RunSummary(  # workers do only what has no verdict yet
                new=report.processed_docs - before.processed_docs,
                failed=report.failed_docs - before.failed_docs,
                skipped=report.skipped_docs - before.skipped_docs,
                unchanged=before.settled_docs,
                unsupported=dict(sorted(found.unsupported.items())),
                seconds=round(time.monotonic() - started, 3),
            )
            if status is BatchStatus.FINISHED:
                await to_the_end(shards.delete_all)
            return report.to_dict()

    async def _drive(self, coordinator: Coordinator, merge: Merge, source: SourcePaths) -> None:
        progress = ProgressTracker(merge.state.total_docs, merge.manifest.batch_id)
        progress.callbacks.extend(self.progress_callbacks)
        state = merge.state
        progress.start_from(state.processed_docs, state.failed_docs + state.skipped_docs)
        loop = asyncio.get_running_loop()
        counting = loop.run_in_executor(None, source.count)
        counting.add_done_callback(lambda task: _note_total(task, merge, progress))
        try:
            is_done = False
            while not (is_done or self._is_cancelled):
                is_done = await to_the_end(coordinator.step)
                if progress.callbacks:
                    done, failed = await to_the_end(coordinator.settled)
                    await _advance(progress, done, failed)
                if not is_done:
                    await asyncio.sleep(_POLL_SECONDS)
        finally:
            counting.cancel()


def _note_total(counting: asyncio.Future[int], merge: Merge, progress: ProgressTracker) -> None:
    if not counting.cancelled() and counting.exception() is None:
        merge.note_total(counting.result())
        progress.total_items = counting.result()


async def _advance(progress: ProgressTracker, done: int, failed: int) -> None:
    for _ in range(done - progress.completed_items):
        await progress.update_progress(success=True)
    for _ in range(failed - progress.failed_items):
        await progress.update_progress(success=False)
