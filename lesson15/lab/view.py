"""What is known of every document of a batch: the events of the engine, folded into a picture.

Widgets draw it, notebooks assert on it. It is safe to read from one thread while another folds.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from lesson15.checkpoint.journal import Record, read_journal
from lesson15.checkpoint.manager import CheckpointManager
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
        self.details: dict[str, Record] = {}
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

    def fold(self, record: Record) -> None:
        """Take in one event of the engine; those without a document change nothing."""
        kind = record["t"]
        with self.lock:
            if kind == "started":
                self._start(record)
            elif kind == "doc":
                self._settle(record)
            elif kind == "gone":
                self._set(record["id"], DocStatus.REMOVED)

    def _start(self, record: Record) -> None:
        self._in_work[record["id"]] = record["w"], record["at"]
        self._set(record["id"], DocStatus.RUNNING)

    def _settle(self, record: Record) -> None:
        doc_id, status = record["id"], DocStatus(record["s"])
        self._set(doc_id, status)
        self.details[doc_id] = record
        if status is not DocStatus.DONE:
            self.errors[record.get("et", "error")] += 1
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

    def return_to_commit(self, state_dir: str, batch_id: str) -> int:
        """Set every document to what the checkpoint says; the number of verdicts lost by it.

        After a kill these are the documents whose work was not yet committed.
        """
        manager = CheckpointManager(state_dir)
        commit = manager.load_commit(batch_id)
        journal = manager.folder(batch_id).journal
        cipher = manager.cipher(batch_id, commit)
        with self.lock:
            before = self.settled
            self.codes[:] = bytes(len(self.codes))
            self.details.clear()
            self.errors.clear()
            self._in_work.clear()
            for _, record in read_journal(journal, stop=commit.position, cipher=cipher):
                self.fold(record)
            self.errors = Counter(
                record["et"] for record in self.details.values() if record["s"] != "done"
            )
            return before - self.settled
