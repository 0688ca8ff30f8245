"""What the records of a journal mean: a reducer folds them, one by one, into a BatchState.

A ``doc`` record names the document's verdict and, where it had one before, the old verdict and
chunk count (``was``, ``was_n``), so that counts follow from the record alone, in constant memory.
Records that change no count (docs/events.md has them all) are passed over.
"""

from __future__ import annotations

from lesson15.checkpoint.journal import Record
from lesson15.models import BatchState, BatchStatus

_FIELD = {"done": "processed_docs", "failed": "failed_docs", "skipped": "skipped_docs"}


def fold(state: BatchState, record: Record) -> BatchState:
    """Apply ``record`` to ``state`` in place and return it."""
    kind = record["t"]
    if kind == "doc":
        status, was = record["s"], record.get("was")
        if status == "done":
            state.processed_docs += 1
        else:
            _add(state, status, 1)
        state.chunks += record["n"]
        if was is not None:
            _add(state, was, -1)
            state.chunks -= record["was_n"]
    elif kind == "gone":
        _add(state, record["was"], -1)
        state.chunks -= record["was_n"]
    elif kind == "total":
        state.total_docs = record["n"]
    elif kind == "run":
        state.status = BatchStatus.RUNNING
        state.total_docs = record.get("n", state.total_docs)
        if not state.start_time:
            state.start_time = record["at"]
    elif kind == "pause":
        state.status = BatchStatus.PAUSED
    elif kind == "unpause":
        state.status = BatchStatus.RUNNING
    elif kind == "end":
        state.status = BatchStatus(record["status"])
        state.seconds += record["seconds"]
    _measure(state)
    return state


def _add(state: BatchState, status: str, amount: int) -> None:
    field = _FIELD[status]
    setattr(state, field, getattr(state, field) + amount)


def _measure(state: BatchState) -> None:
    settled = state.processed_docs + state.failed_docs + state.skipped_docs
    if settled > state.total_docs:
        state.total_docs = settled
    state.current_progress = 100.0 * settled / state.total_docs if state.total_docs else 0.0
