"""A recorded batch that can be sought like a film: state and documents after any number of events.

In the manner of RaftScope: the events are the journal's committed records, the state after ``n`` of
them is a fold of the pure reducer, and a fork lets the batch go on from there in another way. A
snapshot every thousand events keeps scrubbing quick; it costs about 0.3 KiB, and an event 8 bytes.

Source: Ongaro, RaftScope (the visualisation of the Raft paper), 2014.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.journal import Position
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.reducer import fold
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.errors import EventOutOfRangeError
from lesson15.events import Committed, DocRemoved, DocSettled, Event
from lesson15.models import BatchState, DocStatus

_STRIDE = 1000


class Recording:
    """The committed events of ``batch_id``, as they were when this object was made.

    Events are numbered from 1, so "after ``n`` events" is after event ``n``; 0 is the beginning.

    Raises:
        BatchNotFoundError: there is no such batch.
        BatchKeyError: it is encrypted, and its key is not at hand.
        CorruptCheckpointError: its journal is damaged.

    Example:
        >>> recording = Recording("checkpoints", "monday")
        >>> recording.seek(len(recording) // 2).processed_docs
        25
    """

    def __init__(self, state_dir: Path | str, batch_id: str, keys: Keyring | None = None) -> None:
        self._manager = CheckpointManager(state_dir, keyring=keys, makes_folder=False)
        self.batch_id = batch_id
        self._documents: dict[str, DocStatus] = {}
        self._documents_at = 0
        self._manager.open(batch_id).use(self._load)

    def _load(self, batch: StoredBatch, count: int | None = None) -> None:
        """Take the first ``count`` events of ``batch``, or all of them."""
        self._batch = batch
        self._times = array("d")
        self._commits: list[int] = []
        state, time = BatchState(self.batch_id), 0.0
        self._marks = [(Position(), replace(state))]
        for last, event in islice(batch.events_from(Position()), count):
            fold(state, event)
            time = max(time, event.at or time)
            self._times.append(time)
            if isinstance(event, Committed):
                self._commits.append(len(self._times))
            if len(self._times) % _STRIDE == 0:
                self._marks.append((last, replace(state)))

    def __len__(self) -> int:
        return len(self._times)

    def events(self, start: int = 0, stop: int | None = None) -> Iterator[Event]:
        """Stream the events after event ``start`` up to event ``stop`` (or the last).

        Raises:
            EventOutOfRangeError: there is no such event.
        """
        stop = len(self) if stop is None else stop
        self._check(start)
        self._check(stop)
        return self._read(start, stop)

    def _read(self, start: int, stop: int) -> Iterator[Event]:
        (index, skipped), count = divmod(start, _STRIDE), len(self)

        def begun(batch: StoredBatch) -> Iterator[tuple[Position, Event]]:
            if batch is not self._batch:  # it was written anew under another key
                self._load(batch, count)
            entries = batch.events_from(self._marks[index][0])
            return chain(list(islice(entries, 1)), entries)

        entries = self._batch.use(begun)
        for _, event in islice(entries, skipped, max(skipped, skipped + stop - start)):
            yield event

    def seek(self, n: int) -> BatchState:
        """The state after ``n`` events; raises EventOutOfRangeError."""
        self._check(n)
        index = n // _STRIDE
        state = replace(self._marks[index][1])
        for event in self._read(index * _STRIDE, n):
            fold(state, event)
        return state

    def time(self, n: int) -> float:
        """When event ``n`` happened, in epoch seconds; never less than that of the one before."""
        self._check(n)
        return self._times[max(n, 1) - 1] if self._times else 0.0

    def at(self, time: float) -> int:
        """How many events had happened by ``time`` (epoch seconds)."""
        return bisect_right(self._times, time)

    def commits(self) -> list[tuple[int, float]]:
        """Number and time of each event that is a commit, for seeking to what was durable."""
        return [(n, self.time(n)) for n in self._commits]

    def documents(self, n: int) -> dict[str, DocStatus]:
        """The settled documents after ``n`` events; the cost is that of the distance to the last
        call, in either direction. Raises EventOutOfRangeError.
        """
        self._check(n)
        for event in self._read(self._documents_at, n):
            if isinstance(event, DocSettled):
                self._documents[event.doc_id] = event.status
            elif isinstance(event, DocRemoved):
                self._documents.pop(event.doc_id, None)
        while self._documents_at > n:
            start = max(n, (self._documents_at - 1) // _STRIDE * _STRIDE)
            for event in reversed(list(self._read(start, self._documents_at))):
                self._undo(event)
            self._documents_at = start
        self._documents_at = n
        return dict(self._documents)

    def _undo(self, event: Event) -> None:
        """An event names the verdict that it replaced, so it can be taken back."""
        if not isinstance(event, DocSettled | DocRemoved):
            return
        if event.previous_status is not None:
            self._documents[event.doc_id] = event.previous_status
        else:
            self._documents.pop(event.doc_id, None)

    def fork(self, n: int, new_batch_id: str) -> BatchState:
        """Make a batch ``new_batch_id`` beside this one, with its first ``n`` events; its state.

        The engine resumes it as if it had been killed there: `lesson15 resume NEW_ID`.

        Raises:
            EventOutOfRangeError: there is no event ``n``.
            BatchExistsError, InvalidBatchIdError: the new id is taken, or none.
            CheckpointWriteError: the system refused.
        """
        from lesson15.engine.transcript import fork  # numpy, for this alone

        self._check(n)
        return self._batch.use(
            lambda batch: fork(self._manager, batch, new_batch_id, islice(batch.events(), n))
        )

    def _check(self, n: int) -> None:
        if not 0 <= n <= len(self):
            raise EventOutOfRangeError(batch_id=self.batch_id, n=n, count=len(self))
