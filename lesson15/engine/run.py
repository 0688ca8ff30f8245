"""One run over one batch: a fixed set of workers, each taking a document at a time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from itertools import islice

from lesson15.checkpoint.journal import Record
from lesson15.engine.concurrency import AdaptiveLimit, PressureMonitor
from lesson15.engine.feed import Feed, with_past
from lesson15.engine.ledger import Ledger, message_of
from lesson15.engine.work import DocumentOutcome, DocumentWork, SourceDocument
from lesson15.errors import Lesson15Error, StorageError
from lesson15.events import Event, decode
from lesson15.logs import document_context, get_logger
from lesson15.models import BatchStatus, DocStatus
from lesson15.progress import ProgressTracker
from lesson15.recovery import Action, ErrorRecoveryManager, classify
from lesson15.stores.catalog import CatalogRow

log = get_logger(__name__)
Listener = Callable[[Event], None]
_REMOVAL_SLICE = 500
_TOLD_AT_ONCE = {"doc", "gone", "retry", "limit", "fault"}


def announce(listeners: list[Listener], record: Record) -> None:
    """Tell ``listeners``; one that raises must not stop the batch."""
    event = decode(record)
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            log.exception("a listener failed", record=record["t"])


class BatchRun:
    """Drives documents from the feed through the work into the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        feed: Feed,
        work: DocumentWork,
        recovery: ErrorRecoveryManager,
        limit: AdaptiveLimit,
        monitor: PressureMonitor,
        progress: ProgressTracker,
        listeners: list[Listener],
        fingerprint: Callable[[str], list[int] | None],
    ) -> None:
        self.ledger = ledger
        self.limit = limit
        self.progress = progress
        self._feed = feed
        self._work = work
        self._recovery = recovery
        self._monitor = monitor
        self._listeners = listeners
        self._fingerprint = fingerprint
        self._is_paused = False
        self._unpaused = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()
        self.is_cancelled = False
        self._started = time.monotonic()
        ledger.on_commit = self._committed
        limit.on_change = self._note_limit

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

    def _set_paused(self, paused: bool) -> None:  # noqa: FBT001, RUF100 - a callback's argument
        self._is_paused = paused
        if not paused:
            self._unpaused.set()
            self._unpaused = asyncio.Event()

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
        self._announce(
            {"t": "opened", "batch": self.ledger.log.state.batch_id, "at": round(time.time(), 3)}
        )
        watch = asyncio.create_task(self._monitor.watch())
        self._workers = [
            asyncio.create_task(self._run_worker(number)) for number in range(self.limit.maximum)
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
        await self.ledger.commit()

    async def _run_worker(self, number: int) -> None:
        ledger, feed, limit = self.ledger, self._feed, self.limit
        while True:
            if self._is_paused:
                await self._wait_until_unpaused()
            if number >= limit.current:
                await limit.admit(number)
            document = feed.pop() or await feed.next()
            if document is None:
                limit.end()
                return
            document.worker = number
            document_context.set(document.doc_id)
            record = await self._process(document)
            self._tell(record)
            if ledger.pending >= ledger.interval:
                await ledger.commit()

    async def _wait_until_unpaused(self) -> None:
        """Put the pause on record and commit, once for all workers; then wait."""
        while self._is_paused:
            await self._note_pause("pause", BatchStatus.PAUSED)
            await self.ledger.commit()
            if self._is_paused:
                await self._unpaused.wait()
        await self._note_pause("unpause", BatchStatus.RUNNING)

    async def _note_pause(self, kind: str, status: BatchStatus) -> None:
        await self.ledger.settled()
        if self.ledger.log.state.status is not status:
            self.ledger.append({"t": kind, "at": time.time()})

    async def _process(self, document: SourceDocument) -> Record:
        started = time.monotonic()
        attempts = 1
        if self._listeners:
            now = time.time()
            self._announce({"t": "started", "id": document.doc_id, "at": now, "w": document.worker})
        try:
            try:
                outcome = await self._work(document)
            except Exception as first_error:  # noqa: BLE001 - the policy table judges it
                error_before = first_error

                async def again() -> DocumentOutcome:
                    nonlocal attempts, error_before
                    attempts += 1
                    self._note_retry(document, attempts, error_before)
                    try:
                        return await self._work(document)
                    except Exception as error:
                        error_before = error
                        raise

                outcome = await self._recovery.recover(first_error, again)
        except Exception as error:  # noqa: BLE001 - settled as the policy says
            return await self._settle_failure(document, error, time.monotonic() - started)
        ledger = self.ledger
        if ledger.is_committing:
            await ledger.settled()
        self.limit.succeed()
        if outcome.is_unchanged:
            return ledger.add_unchanged(document, outcome, time.monotonic() - started, attempts)
        return ledger.add_done(document, outcome, time.monotonic() - started, attempts)

    async def _settle_failure(
        self, document: SourceDocument, error: Exception, seconds: float
    ) -> Record:
        decision = classify(error)
        if decision.action is Action.ABORT:
            if isinstance(error, Lesson15Error):
                raise error
            raise StorageError(path=document.path, detail=error) from error
        status = DocStatus.SKIPPED if decision.action is Action.SKIP else DocStatus.FAILED
        log.warning(
            "document set aside",
            policy=decision.name,
            attempts=getattr(error, "attempts", 1),
            error=str(error),
        )
        fingerprint = await asyncio.to_thread(self._fingerprint, document.path)
        await self.ledger.settled()
        return self.ledger.add_failed(document, status, error, seconds, fingerprint)

    def _tell(self, record: Record) -> None:
        self.progress.update_progress(record["s"] == "done", record["id"])
        if self._listeners:
            self._announce(record)

    def _announce(self, record: Record) -> None:
        announce(self._listeners, record)

    def _committed(self, records: list[Record]) -> None:
        self._feed.committed(records)
        if self._listeners:
            for record in records:
                if record["t"] not in _TOLD_AT_ONCE:
                    self._announce(record)

    # --- rare events: for the listeners now, and for the journal with the next outcome ---------

    def note(self, record: Record) -> None:
        """Put a rare event on record, and tell the listeners; call on the loop."""
        self.ledger.note(record)
        self._announce(record)

    def _note_retry(self, document: SourceDocument, attempt: int, error: Exception) -> None:
        self.note(
            {
                "t": "retry",
                "id": document.doc_id,
                "try": attempt,
                "policy": classify(error).name,
                "err": message_of(error),
                "at": round(time.time(), 3),
            }
        )

    def _note_limit(self, limit: int, reason: str) -> None:
        self.note({"t": "limit", "n": limit, "why": reason, "at": round(time.time(), 3)})

    def note_total(self, total: int) -> None:
        """Correct the number of documents, which was a guess until the source was counted."""
        state = self.ledger.log.state
        total = max(total, state.settled_docs)
        if total != state.total_docs:
            state.total_docs = self.progress.total_items = total
            self.ledger.note({"t": "total", "n": total, "at": round(time.time(), 3)})

    async def remove_vanished(self, statuses: str) -> None:
        """Take documents whose files are gone out of the batch; ``statuses``: an SQL condition."""
        rows = self.ledger.catalog.scan(f"detail IS NOT NULL AND {statuses}")
        while part := await self.ledger.in_thread(self._missing, rows):
            for row in part:
                if row is None:
                    continue
                await self.ledger.settled()
                document = with_past(SourceDocument(row.doc_id, ""), row)
                self._announce(self.ledger.add_gone(document))
                if self.ledger.pending >= self.ledger.interval:
                    await self.ledger.commit()
        await self.ledger.commit()

    def _missing(self, rows: Iterator[CatalogRow]) -> list[CatalogRow | None]:
        path = self._feed.naming.path
        return [
            row if row.fingerprint and self._is_gone(path(row.doc_id)) else None
            for row in islice(rows, _REMOVAL_SLICE)
        ]

    def _is_gone(self, path: str) -> bool:
        """Whether the file is no more; a folder is no document once it can be listed."""
        if self._fingerprint(path) is None:
            return True
        return os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK)  # noqa: PTH112 - strings

    async def finish(self, status: BatchStatus) -> None:
        """Append how the run ended and commit; nothing is written if nothing happened."""
        ledger = self.ledger
        await ledger.settled()
        state = ledger.log.state
        if status is BatchStatus.FINISHED and state.settled_docs != state.total_docs:
            ledger.append({"t": "total", "n": state.settled_docs, "at": time.time()})
        if state.status is not status or ledger.log.has_run:
            seconds = round(time.monotonic() - self._started, 3)
            ledger.append(
                {"t": "end", "status": status.value, "seconds": seconds, "at": time.time()}
            )
        await ledger.commit()
