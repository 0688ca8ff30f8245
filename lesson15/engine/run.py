"""One run over one batch: a fixed set of workers, each taking a document at a time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from lesson15.engine.concurrency import AdaptiveLimit, PressureMonitor
from lesson15.engine.feed import Feed
from lesson15.engine.observers import Observers
from lesson15.engine.sources import Sources, is_unseen
from lesson15.engine.work import DocumentOutcome, DocumentWork, SourceDocument
from lesson15.engine.writer import Writer
from lesson15.errors import (
    DocumentNotFoundError,
    Lesson15Error,
    StorageError,
    UnreadableDocumentError,
)
from lesson15.errors.base import message_of
from lesson15.events import (
    AttemptFailed,
    DocSettled,
    DocStarted,
    Event,
    LimitChanged,
    Paused,
    RunOpened,
    Unpaused,
    now,
)
from lesson15.logs import document_context, get_logger
from lesson15.models import BatchState, BatchStatus, DocStatus, RunSummary
from lesson15.progress import ProgressTracker
from lesson15.recovery import Action, ErrorRecoveryManager

log = get_logger(__name__)


class Tally:
    """Counts the verdicts of one run.

    Args:
        state: the batch as the run finds it.

    Attributes:
        summary: the counts so far; ``unchanged`` and ``seconds`` are filled in by :meth:`close`.
    """

    def __init__(self, state: BatchState) -> None:
        self.summary = RunSummary()
        self._known = state.settled_docs
        self._redone = 0
        self._started = time.monotonic()

    def count(self, event: DocSettled, previous: DocSettled | None, *, is_unchanged: bool) -> None:
        """Count the verdict ``event``, which takes the place of ``previous``."""
        if is_unchanged:
            return
        self._redone += previous is not None
        summary = self.summary
        if event.status is DocStatus.FAILED:
            summary.failed += 1
        elif event.status is DocStatus.SKIPPED:
            summary.skipped += 1
        elif previous is not None and previous.status is DocStatus.DONE:
            summary.updated += 1
        else:
            summary.new += 1

    def keep(self, document: SourceDocument) -> DocSettled:
        """Count a document that could not be read; returns the verdict that stays in force."""
        assert document.previous is not None  # noqa: S101 - there is something to keep
        log.warning("document cannot be read and is kept as it is", path=document.path)
        self.summary.hidden += 1
        return document.previous

    def close(self, hidden: int, unsupported: dict[str, int]) -> RunSummary:
        """The counts at the end.

        Args:
            hidden: documents that could not be seen when the run began.
            unsupported: files that the scan passed over, by suffix.
        """
        summary = self.summary
        summary.hidden += hidden
        summary.unsupported = dict(sorted(unsupported.items()))
        left = self._known - self._redone - summary.dropped - summary.hidden
        summary.unchanged = max(0, left)
        self.stop()
        return summary

    def stop(self) -> None:
        """Set how long the run has taken up to now."""
        self.summary.seconds = round(time.monotonic() - self._started, 3)


class BatchRun:
    """Drives documents from the feed through the work to the writer.

    Args:
        writer: the batch.
        feed: hands out documents.
        work: what is done to each.
        recovery: what to do about errors.
        limit: how many documents may be in work.
        monitor: lowers the limit under pressure.
        progress: counts documents.
        observers: who is told.
        sources: tells size and times of a document that failed.
        tally: counts what the run does.
    """

    def __init__(
        self,
        writer: Writer,
        feed: Feed,
        work: DocumentWork,
        recovery: ErrorRecoveryManager,
        limit: AdaptiveLimit,
        monitor: PressureMonitor,
        progress: ProgressTracker,
        observers: Observers,
        sources: Sources,
        tally: Tally,
    ) -> None:
        self.writer = writer
        self.progress = progress
        self._feed = feed
        self._work = work
        self._recovery = recovery
        self._limit = limit
        self._monitor = monitor
        self._observers = observers
        self._sources = sources
        self._tally = tally
        self._is_paused = False
        self._unpaused = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()
        self.is_cancelled = False
        self._started = time.monotonic()

    # --- control: safe to call from any thread ------------------------------------------------

    def pause(self) -> None:
        """Take no further document; those in work are finished and committed."""
        self._loop.call_soon_threadsafe(self._set_paused, True)

    def unpause(self) -> None:
        """Go on after :meth:`pause`."""
        self._loop.call_soon_threadsafe(self._set_paused, False)

    def cancel(self) -> None:
        """Stop now: documents in work are dropped, those settled are committed."""
        self._loop.call_soon_threadsafe(self._cancel)

    def _set_paused(self, paused: bool) -> None:
        self._is_paused = paused
        if paused:
            self._unpaused.clear()
        else:
            self._unpaused.set()

    def _cancel(self) -> None:
        self.is_cancelled = True
        for worker in self._workers:
            worker.cancel()

    # --- the run ------------------------------------------------------------------------------

    async def work_off(self) -> None:
        """Process everything that the feed hands out, and commit it.

        Raises:
            StorageError: the system is at fault; what was committed stays.
        """
        self._observers.tell(RunOpened(self.writer.state.batch_id, now()))
        watch = asyncio.create_task(self._monitor.watch())
        self._workers = [
            asyncio.create_task(self._run_worker(number)) for number in range(self._limit.maximum)
        ]
        try:
            if self.is_cancelled:
                self._cancel()
            done, _ = await asyncio.wait(self._workers, return_when=asyncio.FIRST_EXCEPTION)
            for worker in done:
                if not worker.cancelled():
                    worker.result()
        finally:
            for task in (watch, *self._workers):
                task.cancel()
            await asyncio.gather(watch, *self._workers, return_exceptions=True)
        await self.writer.commit()

    async def _run_worker(self, number: int) -> None:
        feed, limit = self._feed, self._limit
        while True:
            while self._is_paused:
                await self._wait_until_unpaused()
            if number >= limit.current:
                await limit.admit(number)
            document = await feed.next()
            if document is None:
                limit.end()
                return
            document.worker = number
            document_context.set(document.doc_id)
            event = await self._process(document)
            self._observers.tell(event)
            await self.progress.update_progress(event.status is DocStatus.DONE, event.doc_id)

    async def _wait_until_unpaused(self) -> None:
        """Put the pause on record and commit, once for all workers; then wait."""
        if self.writer.state.status is not BatchStatus.PAUSED:
            self.writer.append(Paused(now()))
        await self.writer.commit()
        await self._unpaused.wait()
        if not self._is_paused and self.writer.state.status is BatchStatus.PAUSED:
            self.writer.append(Unpaused(now()))
            await self.writer.commit()  # so that those who wait for it are told at once

    async def _process(self, document: SourceDocument) -> DocSettled:
        """Work on ``document``, as often as the policy says, and settle it."""
        started, attempt = time.monotonic(), 1
        if self._observers.listeners:
            self._observers.tell(DocStarted(document.doc_id, document.worker, now()))
        while True:
            try:
                outcome = await self._work(document)
            except Exception as error:  # noqa: BLE001 - the policy table judges it
                wait = self._recovery.wait_before_retry(error, attempt)
                if wait is None:
                    if await self._is_kept(document, error):
                        return self._tally.keep(document)
                    # A call of the embedder may have been repeated by itself: that counts, too.
                    attempt = max(attempt, getattr(error, "attempts", 1))
                    seconds = time.monotonic() - started
                    event = await self._failure(document, error, attempt, seconds)
                    outcome = DocumentOutcome()
                    break
                attempt += 1
                await self._wait_to_retry(document, attempt, error, wait)
            else:
                self._limit.succeed()
                event = self._success(document, outcome, attempt, time.monotonic() - started)
                break
        content = None if outcome.vectors is None else (outcome.vectors, outcome.chunks)
        self._tally.count(event, document.previous, is_unchanged=outcome.is_unchanged)
        return await self.writer.settle(event, document.previous, content)

    async def _is_kept(self, document: SourceDocument, error: Exception) -> bool:
        """Whether a document that the index has stays in it, as it cannot be read now."""
        return (
            document.previous is not None
            and document.previous.status is DocStatus.DONE
            and document.previous.sha256 is not None  # else it is wanted again, come what may
            and isinstance(error, UnreadableDocumentError | DocumentNotFoundError)
            and await asyncio.to_thread(is_unseen, document.path)
        )

    def _success(
        self, document: SourceDocument, outcome: DocumentOutcome, attempt: int, seconds: float
    ) -> DocSettled:
        """The verdict on a document that was done in ``seconds``."""
        if outcome.is_unchanged and document.previous is not None:
            # A touched file with the content that the batch has: only its times differ.
            return replace(
                document.previous,
                at=now(),
                seconds=round(seconds, 6),
                worker=document.worker,
                attempts=attempt,
                fingerprint=outcome.fingerprint,
            )
        return DocSettled(
            doc_id=document.doc_id,
            status=DocStatus.DONE,
            chunks=len(outcome.chunks),
            at=now(),
            seconds=round(seconds, 6),
            worker=document.worker,
            attempts=attempt,
            fingerprint=outcome.fingerprint,
            sha256=outcome.sha256,
        )

    async def _failure(
        self, document: SourceDocument, error: Exception, attempt: int, seconds: float
    ) -> DocSettled:
        """The verdict on a document that failed; raises StorageError if the batch must abort."""
        decision = self._recovery.classify(error)
        if decision.action is Action.ABORT:
            if isinstance(error, Lesson15Error):
                raise error
            raise StorageError(path=document.path, detail=error) from error
        log.warning("document set aside", policy=decision.name, error=str(error))
        return DocSettled(
            doc_id=document.doc_id,
            status=DocStatus.SKIPPED if decision.action is Action.SKIP else DocStatus.FAILED,
            at=now(),
            seconds=round(seconds, 6),
            worker=document.worker,
            attempts=attempt,
            fingerprint=await asyncio.to_thread(self._sources.fingerprint, document.path),
            error=message_of(error),
            error_type=type(getattr(error, "error", error)).__name__,  # of the repeated call
        )

    def lower_limit(self, error: Exception) -> None:
        """Have fewer documents in work, as one ran out of memory with ``error``."""
        self._limit.lower(f"a document ran out of memory ({message_of(error)})")

    async def _wait_to_retry(
        self, document: SourceDocument, attempt: int, error: Exception, seconds: float
    ) -> None:
        decision = self._recovery.classify(error)
        log.warning("retrying", policy=decision.name, attempt=attempt - 1, error=str(error))
        if decision.lower_concurrency:
            self.lower_limit(error)
        self.note(AttemptFailed(document.doc_id, attempt, decision.name, message_of(error), now()))
        await self._recovery.sleep(seconds)

    # --- events that are no verdict -----------------------------------------------------------

    def note(self, event: Event) -> None:
        """Tell of ``event`` now, and put it on record with the next verdict; call on the loop."""
        self.writer.note(event)
        self._observers.tell(event)

    def note_limit(self, limit: int, reason: str) -> None:
        """Put a change of the limit on record."""
        self.note(LimitChanged(limit, reason, now()))

    def note_total(self, total: int) -> None:
        """Correct the number of documents, which was a guess until the source was counted."""
        self.writer.note_total(total)
        self.progress.total_items = max(total, self.writer.state.settled_docs)

    def snapshot(self) -> BatchState:
        """The present counts, of what is not yet committed too."""
        return replace(self.writer.state)

    async def finish(self, status: BatchStatus) -> None:
        """Append how the run ended and commit; nothing is written if nothing happened."""
        self.writer.end(status, time.monotonic() - self._started)
        await self.writer.commit()
