"""The one writer of a batch: outcomes go in, commits come out, and work goes on meanwhile.

Appending costs memory only. When an interval is full, what was appended is cut off and committed by
a thread of the writer's own, while the next interval fills. If that one is full before the commit
has ended, it is cut off too, and whoever settles a document waits. So a crash undoes at most two
intervals and the documents in work.

The thread applies commits to the catalogue too: each at once, or, while they come faster than that,
some together, a twentieth of a second later at most. The index is brought up at the end.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from lesson15.checkpoint.batch_files import BatchFiles, Cut
from lesson15.checkpoint.filesystem import FileSystem
from lesson15.checkpoint.segment import Vectors
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.engine.index import read_newest, save_index
from lesson15.events import DocRemoved, DocSettled, Event, RunEnded, TotalCounted, now
from lesson15.models import BatchStatus, Chunk
from lesson15.stores.base import VectorStore
from lesson15.stores.catalog import Catalog

T = TypeVar("T")
Verdict = TypeVar("Verdict", bound=DocSettled | DocRemoved)
_MOST_COMMITS = 2  # under way: one that is flushed, and one that waits for it
_CATALOG_SECONDS = 0.05
"""How long the catalogue may lag behind the commits while the next one waits."""
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
        catalog: as of the last commit, or an earlier one while the next one waits; used in
            :meth:`in_thread` while there may be commits.
        on_commit: functions that are called on the event loop with the events of each commit, or of
            several, once the catalogue has them.

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
                with batch.blocks() as blocks:
                    read_newest(self.catalog, blocks)  # of a foreign segment nothing can be read
        except BaseException:
            self.files.close()
            raise
        self.on_commit: list[Callable[[list[Event]], None]] = []
        self._interval = interval
        self._pending = self._pending_bytes = 0
        self._notes: list[Event] = []
        self._thread = ThreadPoolExecutor(1, "lesson15-commit")
        self._commits: list[asyncio.Future[list[Event]]] = []
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._cuts: deque[Cut] = deque()  # that the thread has still to write
        self._unapplied: list[Cut] = []  # that it has written
        self._applied_at = 0.0
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
        if previous is not None or content is not None:
            changes: dict[str, Any] = {}
            if previous is not None:
                changes["previous_status"] = previous.status
                changes["previous_chunks"] = previous.chunks
            if content is not None:
                changes["first_row"], block = self.files.append_block(*content)
                changes["block"] = block
                self._pending_bytes += block.length
            event = replace(event, **changes)
        self.append(event)
        self._pending += 1
        if self._pending == self._interval or self._pending_bytes > _MOST_WAITING_BYTES:
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
            await self._has_room.wait()

    def _begin_commit(self) -> None:
        """Cut off what was appended, and have it committed after those before it."""
        self._pending = self._pending_bytes = 0
        self._cuts.append(self.files.cut())
        commit = asyncio.get_running_loop().run_in_executor(self._thread, self._write)
        self._commits.append(commit)
        if len(self._commits) >= _MOST_COMMITS:
            self._has_room.clear()
        commit.add_done_callback(self._end_commit)

    def _write(self) -> list[Event]:
        """Commit the next cut, in the thread; returns the events that the catalogue was given."""
        cut = self._cuts.popleft()
        if self._failure is not None:
            raise self._failure
        try:
            self.files.write(cut)
            self._unapplied.append(cut)
            if not self._cuts or time.monotonic() - self._applied_at > _CATALOG_SECONDS:
                return self._apply()
        except BaseException as error:
            self._failure = error
            raise
        return []

    def _apply(self) -> list[Event]:
        """Bring the catalogue up to the last commit, in the thread; returns what that came to."""
        cuts, self._unapplied = self._unapplied, []
        events = [event for cut in cuts for event in cut.events]
        if cuts:
            self.catalog.apply(events, cuts[-1].commit.position)
            self._applied_at = time.monotonic()
        return events

    def _end_commit(self, commit: asyncio.Future[list[Event]]) -> None:
        self._commits.remove(commit)
        if len(self._commits) < _MOST_COMMITS:
            self._has_room.set()
        self._failure = self._failure or commit.exception()
        if commit.exception() is None and (events := commit.result()):
            for tell in self.on_commit:
                tell(events)

    # --- the end ------------------------------------------------------------------------------

    async def save_index(self, open_store: Callable[[], VectorStore]) -> None:
        """Bring the index, in the store that ``open_store`` opens, up to the last commit.

        Raises:
            IndexBehindError: the system refused; the documents are committed nevertheless.
        """
        await self.in_thread(
            lambda: save_index(
                open_store(), replace(self._batch, commit=self.files.committed), self.catalog
            )
        )

    async def in_thread(self, func: Callable[..., T], *args: object) -> T:
        """Run ``func``, which may use the catalogue, in the writer's thread, between commits."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, func, *args)

    def close(self) -> None:
        """Close all files, while no commit runs; what was not committed is dropped."""
        self.files.close()
        self.catalog.close()

    async def aclose(self) -> None:
        """Close everything; what was not committed is dropped."""
        await self.in_thread(self.close)
        self._thread.shutdown()
