"""The one writer of a batch: outcomes go in, commits come out, and work goes on meanwhile.

Appending costs memory only. When an interval is full, what was appended is cut off and committed by
a thread of the writer's own, while the next interval fills. If that one is full before the commit
has ended, whoever settles a document waits. So a crash undoes at most two intervals and the
documents in work.

After each commit the thread brings what is derived up to it: the catalogue and the index.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from lesson15.checkpoint.batch_files import BatchFiles, Cut
from lesson15.checkpoint.filesystem import FileSystem
from lesson15.checkpoint.segment import SegmentReader, Vectors
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.engine.index import BatchIndex, rebuild_index
from lesson15.events import DocRemoved, DocSettled, Event, RunEnded, TotalCounted, now
from lesson15.models import BatchState, BatchStatus
from lesson15.stores.base import VectorStore
from lesson15.stores.catalog import Catalog

T = TypeVar("T")
_MOST_WAITING_BYTES = 64 * 1024 * 1024
"""An interval of very large documents is committed before it is full."""


class Writer:
    """Appends to ``batch``, whose lock the caller holds, and commits.

    Its methods are called on one event loop; those that block run in the writer's thread.

    Args:
        batch: the batch as it stands.
        fs: what is written goes through it.
        open_store: opens the store of the index.
        interval: documents between two commits.

    Attributes:
        on_commit: functions that are called on the event loop with the events of each commit.

    Raises:
        StorageError: the batch is damaged, or the system refused.
    """

    def __init__(
        self,
        batch: StoredBatch,
        fs: FileSystem,
        open_store: Callable[[], VectorStore],
        interval: int,
    ) -> None:
        self.files = BatchFiles(batch, fs)
        try:
            self.catalog = Catalog.recover(batch)
            try:
                _check_newest_block(batch, self.catalog)
            except BaseException:
                self.catalog.close()
                raise
        except BaseException:
            self.files.close()
            raise
        self.index = BatchIndex(batch.folder.index, open_store, self._fill)
        self.interval = interval
        self.pending = 0
        self.on_commit: list[Callable[[list[Event]], None]] = []
        self._notes: deque[Event] = deque()
        self._added: list[tuple[int, Vectors]] = []
        self._removed: list[int] = []
        self._thread = ThreadPoolExecutor(1, "lesson15-commit")
        self._commit: asyncio.Future[None] | None = None
        # What failed half-way must not be gone on with: a later commit would promise lost bytes.
        self._failure: BaseException | None = None

    @classmethod
    async def open(cls, *arguments: Any, **options: Any) -> Writer:
        """A writer, made in a thread, as recovery may take long; arguments as of the class."""
        return await asyncio.to_thread(cls, *arguments, **options)

    @property
    def state(self) -> BatchState:
        """The counts, of what is not yet committed too; not to be changed."""
        return self.files.state

    # --- appending ----------------------------------------------------------------------------

    async def settle(
        self,
        event: DocSettled,
        previous: DocSettled | None = None,
        content: tuple[Vectors, list[str]] | None = None,
    ) -> DocSettled:
        """Append a verdict on a document, and begin to commit if an interval is full.

        Args:
            event: the verdict; its rows, its block and what it replaces are filled in.
            previous: the verdict that it replaces.
            content: vectors (chunks x dimensions) and texts of a document that has some.

        Returns:
            The event as it was appended.

        Raises:
            StorageError: a commit failed; the last one that succeeded stays in force.
        """
        await self._wait_for_room()
        changes: dict[str, Any] = {}
        if content is not None:
            changes["first_row"], changes["block"] = self.files.append_block(*content)
            self._added.append((changes["first_row"], content[0]))
        if previous is not None:
            changes["previous_status"] = previous.status
            changes["previous_chunks"] = previous.chunks
            if content is not None or event.block != previous.block:
                self._removed.extend(previous.rows)
        if changes:
            event = replace(event, **changes)
        await self._append_verdict(event)
        return event

    async def remove(self, doc_id: str, previous: DocSettled) -> DocRemoved:
        """Append that a document left the batch; ``previous`` and errors as of :meth:`settle`."""
        await self._wait_for_room()
        self._removed.extend(previous.rows)
        event = DocRemoved(
            doc_id=doc_id,
            at=now(),
            previous_status=previous.status,
            previous_chunks=previous.chunks,
        )
        await self._append_verdict(event)
        return event

    async def _wait_for_room(self) -> None:
        while self._is_full:
            await self._begin_commit()
        self._check()

    async def _append_verdict(self, event: DocSettled | DocRemoved) -> None:
        self._append(event)
        self.pending += 1
        if self._is_full and self._commit is None:
            await self._begin_commit()

    def note(self, event: Event) -> None:
        """Put an event that is no verdict on record: it is appended with the next one.

        So a run that settles nothing leaves no trace.
        """
        self._notes.append(event)

    def note_total(self, total: int) -> None:
        """Correct the number of documents, which was a guess until the source was counted."""
        total = max(total, self.state.settled_docs)
        if total != self.state.total_docs:
            self.note(TotalCounted(total, now()))

    def append(self, event: Event) -> None:
        """Append ``event`` after what was noted; it is durable with the next commit."""
        self._check()
        self._append(event)

    def _append(self, event: Event) -> None:
        self._append_notes()
        self.files.append(event)

    def _append_notes(self) -> None:
        while self._notes:
            self.files.append(self._notes.popleft())

    def end(self, status: BatchStatus, seconds: float) -> None:
        """Append how a run ended after ``seconds``, unless nothing happened in it."""
        if self.files.has_run:
            self._append_notes()
        state = self.state
        if status is BatchStatus.FINISHED and state.settled_docs != state.total_docs:
            self.append(TotalCounted(state.settled_docs, now()))
        if self.files.has_run or state.status is not status:
            self.append(RunEnded(status, round(seconds, 3), now()))

    # --- committing ---------------------------------------------------------------------------

    @property
    def _is_full(self) -> bool:
        return self.pending >= self.interval or self.files.waiting_bytes > _MOST_WAITING_BYTES

    async def commit(self) -> None:
        """Make everything appended durable, and wait for it.

        A caller that is cancelled leaves the commit running, and the next one waits for it.

        Raises:
            CheckpointWriteError: the system refused, now or before; the last commit stays in force.
            CatalogError: the commit is done, but not applied to the catalogue.
        """
        while self.files.is_dirty or self._commit is not None:
            await self._begin_commit()
            if self._commit is not None:
                await asyncio.wait([self._commit])
        self._check()

    async def _begin_commit(self) -> None:
        """Begin with a commit, once the one before has ended; that one may be another caller's."""
        if self._commit is not None:
            await asyncio.wait([self._commit])
            return
        self._check()
        if not self.files.is_dirty:
            return
        cut = self.files.cut()
        changes = self._added, self._removed
        self._added, self._removed = [], []
        self.pending = 0
        loop = asyncio.get_running_loop()
        self._commit = loop.run_in_executor(self._thread, self.write, cut, *changes)
        self._commit.add_done_callback(lambda commit: self._end_commit(commit, cut.events))

    def write(self, cut: Cut, added: list[tuple[int, Vectors]], removed: list[int]) -> None:
        """Commit ``cut``, then bring what is derived up to it; runs in the writer's thread."""
        before = self.files.committed
        self.files.write(cut)
        self.catalog.apply(cut.events, cut.commit.position)
        self.index.apply(before, added, removed)

    def _end_commit(self, commit: asyncio.Future[None], events: list[Event]) -> None:
        self._commit = None
        self._failure = commit.exception()
        if self._failure is None:
            for tell in self.on_commit:
                tell(events)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fill(self, store: VectorStore) -> None:
        with SegmentReader(self.files.folder.segment, self.files.cipher) as blocks:
            rebuild_index(store, self.catalog.scan_with_chunks(), blocks)

    # --- the end ------------------------------------------------------------------------------

    async def save_index(self) -> None:
        """Persist the index as of the last commit; raises CheckpointWriteError."""
        await self.in_thread(self.index.save, self.files.committed)

    async def in_thread(self, func: Callable[..., T], *args: object) -> T:
        """Run ``func``, which may use the catalogue, in the writer's thread, between commits."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, func, *args)

    async def aclose(self) -> None:
        """Close everything; what was not committed is dropped."""

        def close(parts: Iterable[Any]) -> None:
            for part in parts:
                part.close()

        await self.in_thread(close, (self.files, self.catalog, self.index))
        self._thread.shutdown()


def _check_newest_block(batch: StoredBatch, catalog: Catalog) -> None:
    """Read the newest block: a foreign segment has none there; raises CorruptCheckpointError."""
    newest = catalog.newest()
    if newest is not None and newest.block is not None:
        with batch.blocks() as blocks:
            blocks.read(newest.block)
