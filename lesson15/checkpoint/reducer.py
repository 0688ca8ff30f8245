"""What the events of a journal mean: a reducer folds them, one by one, into a BatchState.

An event about a document names its verdict and the one that it replaces, so that counts follow from
the event alone, in constant memory. Events that change no count are passed over.
"""

from __future__ import annotations

from lesson15.events import (
    DocRemoved,
    DocSettled,
    Event,
    Paused,
    RunEnded,
    RunStarted,
    TotalCounted,
    Unpaused,
)
from lesson15.models import BatchState, BatchStatus, DocStatus


def fold(state: BatchState, event: Event) -> BatchState:
    """Apply ``event`` to ``state`` in place and return it."""
    match event:
        case DocSettled():
            _count(state, event.status, 1)
            state.chunks += event.chunks
            _take_back(state, event)
        case DocRemoved():
            _take_back(state, event)
        case TotalCounted(total=total):
            state.total_docs = total
        case RunStarted(at=at, total=total):
            state.status = BatchStatus.RUNNING
            if total is not None:
                state.total_docs = total
            state.start_time = state.start_time or at
        case Paused():
            state.status = BatchStatus.PAUSED
        case Unpaused():
            state.status = BatchStatus.RUNNING
        case RunEnded(status=status, seconds=seconds):
            state.status = status
            state.seconds += seconds
        case _:
            return state
    settled = state.processed_docs + state.failed_docs + state.skipped_docs
    if settled > state.total_docs:
        state.total_docs = settled
    state.current_progress = 100.0 * settled / state.total_docs if state.total_docs else 0.0
    return state


def _take_back(state: BatchState, event: DocSettled | DocRemoved) -> None:
    """Uncount what ``event`` replaces."""
    if event.previous_status is not None:
        _count(state, event.previous_status, -1)
        state.chunks -= event.previous_chunks


def _count(state: BatchState, status: DocStatus, amount: int) -> None:
    if status is DocStatus.DONE:
        state.processed_docs += amount
    elif status is DocStatus.FAILED:
        state.failed_docs += amount
    else:
        state.skipped_docs += amount
