"""The one writer of a batch: outcomes go in, commits come out, and work goes on meanwhile.

Appending costs memory only. When an interval is full, what was appended is cut off and committed by
a thread of the writer's own, while the next interval fills. If that one is full before the commit
has ended, it is cut off too, and whoever settles a document waits. So a crash undoes at most two
intervals and the documents in work.

After each commit the thread applies it to the catalogue. The index is brought up at the end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from lesson15.checkpoint.batch_files import BatchFiles, Cut
from lesson15.checkpoint.filesystem import FileSystem
from lesson15.checkpoint.segment import Vectors
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.engine.index import save_index
from lesson15.errors import CorruptCheckpointError
from lesson15.events import DocRemoved, DocSettled, Event, RunEnded, TotalCounted, now
from lesson15.models import BatchStatus, Chunk
from lesson15.stores.base import VectorStore
from lesson15.stores.catalog import Catalog

T = TypeVar("T")
Verdict = TypeVar("Verdict", bound=DocSettled | DocRemoved)
_MOST_COMMITS = 2  # under way: one that is flushed, and one that waits for it
_NEWEST_BLOCKS = 8  # are looked at to tell a foreign segment
_MOST_WAITING_BYTES = 64 * 1024 * 1024
"""An interval of very large documents is committed before it is full."""


class Writer:
    """Appends to ``batch``, whose lock the caller holds, and commits.

    Making one recovers the batch, which may take long. The methods are called on one event loop;
    those that block run in the writer's thread.

    Args:
        batch: the batch as it stands.
        fs: what is written goes through it.
        interval: documents between two commits.

    Attributes:
        files: what is appended to.
        state: the counts, of what is not yet committed too; not to be changed.
        catalog: as of the last commit; used in :meth:`in_thread` while there may be commits.
        on_commit: functions that are called on the event loop with the events of each commit.

    Raises:
        StorageError: the batch is damaged, or the system refused.
    """

    def __init__(self, batch: StoredBatch, fs: FileSystem, interval: int) -> None:
        self._batch = batch
        self.files = BatchFiles(batch, fs)
        self.state = self.files.state
        try:
            self.catalog = Catalog.recover(batch)
            if batch.commit.next_row:
                check_segment_is_own(batch, self.catalog)
        except BaseException:
            self.files.close()
            raise
        self.on_commit: list[Callable[[list[Event]], None]] = []
        self._interval = interval
        self._pending = 0
        self._notes: deque[Event] = deque()
        self._thread = ThreadPoolExecutor(1, "lesson15-commit")
        self._commits: list[asyncio.Future[None]] = []
        # What failed half-way must not be gone on with: a later commit would promise lost bytes.
        self._failure: BaseException | None = None

    # --- appending ----------------------------------------------------------------------------

    async def settle(
        self,
        event: Verdict,
        previous: DocSettled | None = None,
        content: tuple[Vectors, Sequence[Chunk]] | None = None,
    ) -> Verdict:
        """Append a verdict on a document, and begin to commit if an interval is full.

        Args:
            event: the verdict; its rows, its block and what it replaces are filled in.
            previous: the verdict that it replaces.
            content: vectors (chunks x dimensions) and chunks of a document that has some.

        Returns:
            The event as it was appended.

        Raises:
            StorageError: a commit failed; the last one that succeeded stays in force.
        """
        await self._room()
        changes: dict[str, Any] = {}
        if previous is not None:
            changes |= {
                "previous_status": previous.status, "previous_chunks": previous.chunks
            }  # fmt: skip
        if content is not None:
            changes["first_row"], changes["block"] = self.files.append_block(*content)
        if changes:
            event = replace(event, **changes)
        self.append(event)
        self._pending += 1
        if self._pending == self._interval or self.files.waiting_bytes > _MOST_WAITING_BYTES:
            self._begin_commit()
        return event

    def append(self, event: Event) -> None:
        """Append ``event`` after what was noted; it is durable with the next commit.

        Raises:
            StorageError: a commit failed.
        """
        if self._failure is not None:
            raise self._failure
        self.files.append(*self._notes, event)
        self._notes.clear()

    def note(self, event: Event) -> None:
        """Put an event that is no verdict on record: it is appended with the next one.

        So a run that settles nothing leaves no trace.
        """
        self._notes.append(event)

    def note_total(self, total: int) -> None:
        """Correct the number of documents, which was a guess until the source was counted."""
        if total > self.state.settled_docs and total != self.state.total_docs:
            self.note(TotalCounted(total, now()))

    def end(self, status: BatchStatus, seconds: float) -> None:
        """Append how a run ended after ``seconds``, unless nothing happened in it."""
        state = self.state
        if not self.files.has_run and state.status is status:
            return
        if status is BatchStatus.FINISHED:
            is_noted = any(isinstance(event, TotalCounted) for event in self._notes)
            if is_noted or state.settled_docs != state.total_docs:
                self.append(TotalCounted(state.settled_docs, now()))
        self.append(RunEnded(status, round(seconds, 3), now()))

    # --- committing ---------------------------------------------------------------------------

    async def commit(self) -> None:
        """Make everything appended durable, and wait for it.

        A caller that is cancelled leaves the commit running, and the next one waits for it.

        Raises:
            CheckpointWriteError: the system refused, now or before; the last commit stays in force.
            CatalogError: the commit is done, but not applied to the catalogue.
        """
        await self._room()
        if self.files.uncut and self._failure is None:
            self._begin_commit()
        if self._commits:
            await asyncio.wait(self._commits)
        if self._failure is not None:
            raise self._failure

    async def _room(self) -> None:
        """Wait until another commit may begin."""
        while len(self._commits) >= _MOST_COMMITS:
            await asyncio.wait(self._commits, return_when=asyncio.FIRST_COMPLETED)

    def _begin_commit(self) -> None:
        """Cut off what was appended, and have it committed after those before it."""
        cut = self.files.cut()
        self._pending = 0
        commit = asyncio.get_running_loop().run_in_executor(self._thread, self.write, cut)
        self._commits.append(commit)
        commit.add_done_callback(lambda commit: self._end_commit(commit, cut.events))

    def write(self, cut: Cut) -> None:
        """Commit ``cut`` and apply it to the catalogue; runs in the writer's thread."""
        if self._failure is not None:
            raise self._failure
        try:
            self.files.write(cut)
            self.catalog.apply(cut.events, cut.commit.position)
        except BaseException as error:
            self._failure = error
            raise

    def _end_commit(self, commit: asyncio.Future[None], events: list[Event]) -> None:
        self._commits.remove(commit)
        self._failure = self._failure or commit.exception()
        if commit.exception() is None:
            for tell in self.on_commit:
                tell(events)

    # --- the end ------------------------------------------------------------------------------

    async def save_index(self, open_store: Callable[[], VectorStore]) -> None:
        """Bring the index, in the store that ``open_store`` opens, up to the last commit.

        Raises:
            CheckpointWriteError: the system refused.
        """
        await self.in_thread(
            lambda: save_index(
                open_store(), replace(self._batch, commit=self.files.committed), self.catalog
            )
        )

    async def in_thread(self, func: Callable[..., T], *args: object) -> T:
        """Run ``func``, which may use the catalogue, in the writer's thread, between commits."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, func, *args)

    async def aclose(self) -> None:
        """Close everything; what was not committed is dropped."""
        await self.in_thread(self.files.close)
        await self.in_thread(self.catalog.close)
        self._thread.shutdown()


def check_segment_is_own(batch: StoredBatch, catalog: Catalog) -> None:
    """Check that one of the newest blocks can be read: of a foreign segment none can.

    A block that is damaged by itself is no reason to stop: its document is left out of the index.

    Raises:
        CorruptCheckpointError: none can.
    """
    failure: CorruptCheckpointError | None = None
    with batch.blocks() as blocks:
        for document in catalog.newest(_NEWEST_BLOCKS):
            if document.block is None:
                continue
            try:
                blocks.read(document.block)
            except CorruptCheckpointError as error:
                failure = failure or error
            else:
                return
    if failure is not None:
        raise failure
