"""What is known of every document of a batch: the events of the engine, folded into a picture.

Widgets draw it, notebooks assert on it. It is safe to read from one thread while another folds.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.events import DocRemoved, DocSettled, DocStarted, Event
from lesson15.models import DocStatus

CODE = {status: code for code, status in enumerate(DocStatus)}
_MAX_SPANS = 2000
_MAX_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Span:
    """One document in work: ``worker`` has it (from 0), times are epoch seconds."""

    worker: int
    start: float
    end: float
    doc_id: str
    status: DocStatus


class BatchView:
    """The documents of a batch, by number, with their states.

    ``codes`` holds one byte for each document: the position of its state in ``DocStatus``.
    """

    def __init__(self, doc_ids: Iterable[str] = ()) -> None:
        self.lock = threading.RLock()
        self.doc_ids = list(doc_ids)
        self.codes = bytearray(len(self.doc_ids))
        self.details: dict[str, DocSettled] = {}
        self.errors: Counter[str] = Counter()
        self.spans: deque[Span] = deque(maxlen=_MAX_SPANS)
        self.seconds: deque[list[float]] = deque(maxlen=_MAX_SECONDS)
        self._places = {doc_id: place for place, doc_id in enumerate(self.doc_ids)}
        self._in_work: dict[str, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self.doc_ids)

    def count(self, status: DocStatus | str) -> int:
        """How many documents are in ``status``."""
        return self.codes.count(CODE[DocStatus(status)])

    def counts(self) -> dict[str, int]:
        """Documents by state."""
        return {status.value: self.codes.count(code) for status, code in CODE.items()}

    @property
    def settled(self) -> int:
        """Documents with a verdict: done, failed or skipped."""
        return sum(self.count(s) for s in (DocStatus.DONE, DocStatus.FAILED, DocStatus.SKIPPED))

    def status(self, doc_id: str) -> DocStatus:
        """The state of one document."""
        return list(DocStatus)[self.codes[self._places[doc_id]]]

    def fold(self, event: Event) -> None:
        """Take in one event of the engine; those without a document change nothing."""
        with self.lock:
            match event:
                case DocStarted(doc_id=doc_id, worker=worker, at=at):
                    self._in_work[doc_id] = worker or 0, at
                    self._set(doc_id, DocStatus.RUNNING)
                case DocSettled():
                    self._settle(event)
                case DocRemoved(doc_id=doc_id):
                    self._set(doc_id, DocStatus.REMOVED)

    def _settle(self, event: DocSettled) -> None:
        doc_id, status = event.doc_id, event.status
        self._set(doc_id, status)
        is_known = self.details.get(doc_id) == event  # read from the journal, before it was told
        self.details[doc_id] = event
        if status is not DocStatus.DONE and not is_known:
            self.errors[event.error_type or "error"] += 1
        if doc_id in self._in_work:
            worker, start = self._in_work.pop(doc_id)
            self.spans.append(Span(worker, start, time.time(), doc_id, status))
            self._tick(status)

    def _tick(self, status: DocStatus) -> None:
        """Count one settled document in its second: [second, done, failed or skipped]."""
        second = int(time.time())
        if not self.seconds or self.seconds[-1][0] != second:
            self.seconds.append([second, 0, 0])
        self.seconds[-1][1 if status is DocStatus.DONE else 2] += 1

    def _set(self, doc_id: str, status: DocStatus) -> None:
        place = self._places.get(doc_id)
        if place is None:
            place = self._places[doc_id] = len(self.doc_ids)
            self.doc_ids.append(doc_id)
            self.codes.append(0)
        self.codes[place] = CODE[status]

    def in_work(self) -> list[tuple[int, float, str]]:
        """Worker, start and id of the documents in work now."""
        with self.lock:
            return [(worker, start, doc_id) for doc_id, (worker, start) in self._in_work.items()]

    def return_to_commit(self, batch: StoredBatch) -> int:
        """Set every document to what ``batch`` has committed; the number of verdicts lost by it.

        After a kill these are the documents whose work was not yet committed.
        """
        with self.lock:
            before = self.settled
            self.codes[:] = bytes(len(self.codes))
            self.details.clear()
            self.errors.clear()
            self._in_work.clear()
            for event in batch.events():
                self.fold(event)
            self.errors = Counter(
                event.error_type or "error"
                for event in self.details.values()
                if event.status is not DocStatus.DONE
            )
            return before - self.settled
