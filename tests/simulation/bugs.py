"""Engines broken on purpose: races, lost wake-ups, promises made too early, flushes left out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from lesson15.checkpoint import batch_files, filesystem, layout, state_files
from lesson15.checkpoint.batch_files import BatchFiles, Cut
from lesson15.checkpoint.filesystem import AppendOnlyFile
from lesson15.checkpoint.journal import Position
from lesson15.checkpoint.segment import SegmentWriter
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.documents import isolation
from lesson15.documents.isolation import ParserPool
from lesson15.embedding import batcher
from lesson15.engine import feed, processor, run, writer
from lesson15.engine.concurrency import AdaptiveLimit
from lesson15.engine.feed import Feed
from lesson15.engine.run import BatchRun
from lesson15.engine.work import SourceDocument
from lesson15.engine.writer import Writer
from lesson15.errors import ParseTimeoutError
from lesson15.models import BatchStatus
from lesson15.simulation.scenario import SlowEmbedder
from lesson15.stores.catalog import Catalog
from lesson15.threads import DaemonThreads
from tests.wrappers import Around, WithoutFsync

Patch = pytest.MonkeyPatch
BUGS: dict[str, Callable[[Patch], None]] = {}


def bug(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    BUGS[plant.__name__.replace("_", " ")] = plant
    return plant


# --- the writer ---------------------------------------------------------------------------------


@bug
def two_threads_commit(patch: Patch) -> None:
    """Commits overlap."""
    patch.setattr(writer, "ThreadPoolExecutor", lambda _count, name: ThreadPoolExecutor(2, name))


@bug
def a_third_commit_is_let_in(patch: Patch) -> None:
    patch.setattr(writer, "_MOST_COMMITS", 3)


@bug
def all_who_wait_go_on_when_one_commit_has_ended(patch: Patch) -> None:
    async def room(self: Any) -> None:
        if len(self._commits) >= 2:
            await self._has_room.wait()

    patch.setattr(Writer, "_room", room)


@bug
def a_pause_begins_a_third_commit(patch: Patch) -> None:
    """A bug that the engine had: after it, documents waited no more. Universes found it."""

    async def room(self: Any) -> None:
        while len(self._commits) == 2:
            await self._has_room.wait()

    async def commit(self: Any) -> None:
        if self.files.uncut and self._failure is None:
            self._begin_commit()
        if self._commits:
            await asyncio.wait(self._commits)
        if self._failure is not None:
            raise self._failure

    patch.setattr(Writer, "_room", room)
    patch.setattr(Writer, "commit", commit)


@bug
def a_commit_is_told_when_it_begins(patch: Patch) -> None:
    begin = Writer._begin_commit

    def broken(self: Any) -> None:
        begin(self)
        for tell in self.on_commit:
            tell(self._cuts[-1].events)

    patch.setattr(Writer, "_begin_commit", broken)


@bug
def the_cut_is_made_in_the_thread(patch: Patch) -> None:
    """While the event loop appends."""

    def begin(self: Any) -> None:
        self._pending = self._pending_bytes = 0

        def write() -> Any:
            self._cuts.append(self.files.cut())
            return self._write()

        commit = asyncio.get_running_loop().run_in_executor(self._thread, write)
        self._commits.append(commit)
        if len(self._commits) >= 2:
            self._has_room.clear()
        commit.add_done_callback(self._end_commit)

    patch.setattr(Writer, "_begin_commit", begin)


@bug
def a_row_is_taken_before_the_wait(patch: Patch) -> None:
    """Two documents that wait have the same one."""

    async def settle(self: Any, event: Any, previous: Any = None, content: Any = None) -> Any:
        row = self.files._next_row
        await self._room()
        self.files._next_row = row
        return await original(self, event, previous, content)

    original = Writer.settle
    patch.setattr(Writer, "settle", settle)


@bug
def a_second_commit_is_written_after_one_that_failed(patch: Patch) -> None:
    """What failed half-way is gone on with by the commit that waited behind it."""

    def write(self: Any) -> Any:
        cut = self._cuts.popleft()
        self.files.write(cut)
        self._unapplied.append(cut)
        return self._apply()

    patch.setattr(Writer, "_write", write)


@bug
def the_end_of_a_run_is_not_committed(patch: Patch) -> None:
    async def finish(self: Any, status: BatchStatus) -> None:
        self.writer.end(status, 0.0)

    patch.setattr(BatchRun, "finish", finish)


# --- what is durable, and when ------------------------------------------------------------------


@bug
def appended_bytes_are_not_flushed(patch: Patch) -> None:
    init = AppendOnlyFile.__init__

    def broken(self: Any, *arguments: Any) -> None:
        init(self, *arguments)
        self._file = WithoutFsync(self._file)

    patch.setattr(AppendOnlyFile, "__init__", broken)


@bug
def the_checkpoint_is_not_flushed_before_it_is_renamed(patch: Patch) -> None:
    replace_file = filesystem.replace_file

    class Weak(Around):
        def create(self, path: Any) -> Any:
            return WithoutFsync(self.inner.create(path))

    patch.setattr(
        state_files, "replace_file", lambda fs, path, data: replace_file(Weak(fs), path, data)
    )


@bug
def the_folder_is_not_flushed(patch: Patch) -> None:
    replace_file = filesystem.replace_file

    class Weak(Around):
        def fsync_folder(self, path: Any) -> None:
            pass

    patch.setattr(
        state_files, "replace_file", lambda fs, path, data: replace_file(Weak(fs), path, data)
    )


@bug
def the_segment_is_flushed_after_the_checkpoint(patch: Patch) -> None:
    def broken(self: BatchFiles, cut: Cut) -> None:
        write(self, replace(cut, blocks=[]))
        self._segment.write(cut.blocks)

    write = BatchFiles.write
    patch.setattr(BatchFiles, "write", broken)


@bug
def the_tail_is_not_cut(patch: Patch) -> None:
    patch.setattr(batch_files, "cut_off", lambda fs, path, size: None)


@bug
def the_catalogue_is_applied_before_the_commit(patch: Patch) -> None:
    def broken(self: Any) -> Any:
        cut = self._cuts.popleft()
        if self._failure is not None:
            raise self._failure
        try:
            self._unapplied.append(cut)
            events = self._apply()
            self.files.write(cut)
        except BaseException as error:
            self._failure = error
            raise
        return events

    patch.setattr(Writer, "_write", broken)


@bug
def the_catalogue_notes_its_place_before_its_rows(patch: Patch) -> None:
    """Without a transaction around both."""

    def broken(self: Any, parts: Any) -> None:
        for events, position in parts:
            events = list(events)
            self._db.execute(
                "INSERT OR REPLACE INTO applied VALUES (1, ?, ?)", (position.offset, position.crc)
            )
            for event in events:
                original(self, [([event], position)])

    original = Catalog._apply
    patch.setattr(Catalog, "_apply", broken)


@bug
def a_stale_catalogue_is_believed(patch: Patch) -> None:
    catch_up = Catalog.catch_up

    def broken(self: Catalog, batch: StoredBatch) -> None:
        if self.position == Position():
            catch_up(self, batch)

    patch.setattr(Catalog, "catch_up", broken)


@bug
def the_lock_of_the_batch_is_let_go_at_once(patch: Patch) -> None:
    lock = layout.batch_lock

    @contextmanager
    def broken(folder: Any) -> Iterator[None]:
        with lock(folder):
            pass
        yield

    patch.setattr(processor, "batch_lock", broken)


# --- the feed -----------------------------------------------------------------------------------


class NoLock:
    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *error: object) -> None:
        pass


@bug
def two_workers_refill_the_feed_at_once(patch: Patch) -> None:
    init = Feed.__init__

    def broken(self: Any, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        self._refilling = NoLock()

    patch.setattr(Feed, "__init__", broken)


@bug
def the_feed_forgets_what_is_in_work(patch: Patch) -> None:
    read = Feed._read

    def broken(self: Any, paths: Any) -> Any:
        self._uncommitted.clear()
        return read(self, paths)

    patch.setattr(Feed, "_read", broken)


@bug
def the_feed_looks_in_the_catalogue_first(patch: Patch) -> None:
    """A document that is committed between its two looks is handed out twice."""

    def broken(self: Any, paths: Any) -> Any:
        ids = list(dict.fromkeys(map(self.naming.doc_id, islice(paths, feed._SLICE))))
        if not ids:
            return None
        settled = self._catalog.lookup(ids)
        found = {name: self._fingerprint(self.naming.path(name)) for name in ids}
        documents = [
            SourceDocument(name, self.naming.path(name), settled.get(name))
            for name in ids
            if name not in self._uncommitted
            and (name not in settled or settled[name].fingerprint != found[name])
        ]
        self._uncommitted.update([document.doc_id for document in documents])
        return documents

    patch.setattr(Feed, "_read", broken)


@bug
def a_document_is_forgotten_before_its_commit(patch: Patch) -> None:
    """The feed forgets it when the commit begins, before the catalogue knows it."""
    begin = Writer._begin_commit

    def broken(self: Any) -> None:
        for tell in self.on_commit[:1]:
            tell(self.files.uncut)
        begin(self)

    patch.setattr(Writer, "_begin_commit", broken)


# --- workers, pause, limit ----------------------------------------------------------------------


@bug
def a_pause_drops_the_document_in_hand(patch: Patch) -> None:
    next_document = Feed.next

    async def broken(self: BatchRun, number: int) -> None:
        async def next_unless_paused() -> Any:
            document = await next_document(self._feed)
            while document is not None and self._is_paused:
                await self._wait_until_unpaused()
                document = await next_document(self._feed)
            return document

        self._feed.next = next_unless_paused
        await run_worker(self, number)

    run_worker = BatchRun._run_worker
    patch.setattr(BatchRun, "_run_worker", broken)


@bug
def going_on_wakes_nobody_before_the_pause_is_on_record(patch: Patch) -> None:
    def broken(self: Any, paused: bool) -> None:
        self._is_paused = paused
        if paused:
            self._unpaused.clear()
        elif self.writer.state.status is BatchStatus.PAUSED:
            self._unpaused.set()

    patch.setattr(BatchRun, "_set_paused", broken)


@bug
def the_first_worker_that_is_done_ends_the_run(patch: Patch) -> None:
    class Broken(Around):
        FIRST_EXCEPTION = asyncio.FIRST_COMPLETED

    patch.setattr(run, "asyncio", Broken(asyncio))


@bug
def raising_the_limit_wakes_nobody(patch: Patch) -> None:
    """The event is replaced before it is set."""

    def broken(self: Any) -> None:
        if self.current == self.maximum:
            return
        self._successes += 1
        if self._successes >= self.current:
            self._successes = 0
            self.current += 1
            self._raised = asyncio.Event()
            self._raised.set()
            self._raised = asyncio.Event()
            self.on_change(self.current, "a full round of documents succeeded")

    patch.setattr(AdaptiveLimit, "succeed", broken)


@bug
def the_end_is_told_to_those_who_come_later_alone(patch: Patch) -> None:
    def broken(self: Any) -> None:
        self._is_over = True

    patch.setattr(AdaptiveLimit, "end", broken)


# --- threads, calls, processes ------------------------------------------------------------------


@bug
def vectors_are_handed_over_with_the_last_chunk(patch: Patch) -> None:
    """Whichever of the others are there by then."""

    def fill(self: Any, number: int, vector: Any) -> None:
        if self._vectors is None:
            self._vectors = np.zeros((len(self.texts), len(vector)), np.float32)
            self._vectors[:, 0] = 1.0
        self._vectors[number] = vector
        if number == len(self.texts) - 1 and not self.future.done():
            self.future.set_result(self._vectors.copy())

    patch.setattr(batcher._Document, "fill", fill)


@bug
def a_thread_that_hangs_is_used_again(patch: Patch) -> None:
    async def run(self: Any, function: Any) -> Any:
        future: Future[Any] = Future()
        jobs = self._idle.pop() if self._idle else self._start()
        jobs.put((future, function))
        try:
            return await asyncio.wrap_future(future)
        finally:
            self._idle.append(jobs)

    patch.setattr(DaemonThreads, "run", run)


@bug
def a_parser_that_is_late_is_used_again(patch: Patch) -> None:
    """Its answer reaches the next document."""

    async def parse(self: Any, path: str, order: Any = None) -> Any:
        async with self._free:
            process = await self._take()
            try:
                async with asyncio.timeout(self._timeout):
                    reply = await self._ask(process, path, order or {})
            except TimeoutError:
                self._idle.append(process)
                raise ParseTimeoutError(path=path, seconds=self._timeout) from None
            self._idle.append(process)
        return isolation._result(reply, path)

    patch.setattr(ParserPool, "parse", parse)


@bug
def a_dead_parser_keeps_its_place(patch: Patch) -> None:
    """The semaphore is not released when a process dies."""

    async def stop(self: Any, process: Any) -> int:
        self._free._value -= 1
        return await original(self, process)

    original = ParserPool._stop
    patch.setattr(ParserPool, "_stop", stop)


@bug
def the_end_of_a_call_begins_no_other(patch: Patch) -> None:
    """A lost wake-up: chunks wait until another document comes."""

    def end(self: Any, call: Any) -> None:
        self._calls.discard(call)

    patch.setattr(batcher.MicroBatcher, "_end_call", end)


@bug
def a_failed_call_holds_its_place(patch: Patch) -> None:
    """A thread that was given up is still counted."""

    async def call(self: Any, taken: Any) -> None:
        results = await self._model.run([chunk.text for chunk in taken])
        if any(isinstance(result, Exception) for result in results):
            self._calls.add(asyncio.create_task(asyncio.sleep(1e9)))
        for chunk, result in zip(taken, results, strict=True):
            if isinstance(result, Exception):
                chunk.document.fail(result)
            else:
                chunk.document.fill(chunk.number, result)

    patch.setattr(batcher.MicroBatcher, "_call", call)


@bug
def the_cache_of_an_embedder_is_filled_without_a_lock(patch: Patch) -> None:
    """A plugin: what is checked is no longer so when it is acted on."""

    def embed(self: Any, texts: Any) -> Any:
        self.scratch = list(texts)
        result = original(self, texts)
        if self.scratch != list(texts) and len(self.scratch) == len(texts):
            return original(self, self.scratch)
        return result

    original = SlowEmbedder.embed
    patch.setattr(SlowEmbedder, "embed", embed)


@bug
def the_index_lacks_the_last_vector(patch: Patch) -> None:
    async def save_index(self: Any, open_store: Any) -> None:
        class Early(Around):
            def save(self, tag: str) -> None:
                self.inner.remove(self.inner.rows()[-1:])
                self.inner.save(tag)

        await save(self, lambda: Early(open_store()))

    save = Writer.save_index
    patch.setattr(Writer, "save_index", save_index)


@bug
def blocks_are_numbered_from_the_file(patch: Patch) -> None:
    """The place of a block is taken from the size of the file, where commits still wait."""

    def append(self: Any, vectors: Any, chunks: Any) -> Any:
        ref = original(self, vectors, chunks)
        return ref._replace(offset=max(0, ref.offset - sum(map(len, self._waiting)) + ref.length))

    original = SegmentWriter.append
    patch.setattr(SegmentWriter, "append", append)
