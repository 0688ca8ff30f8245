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

_COUNTERS = {
    DocStatus.DONE: "processed_docs",
    DocStatus.FAILED: "failed_docs",
    DocStatus.SKIPPED: "skipped_docs",
}


def fold(state: BatchState, event: Event) -> BatchState:
    """Apply ``event`` to ``state`` in place and return it."""
    match event:
        case DocSettled() | DocRemoved():
            if event.previous_status is not None:
                counter = _COUNTERS[event.previous_status]
                setattr(state, counter, getattr(state, counter) - 1)
                state.chunks -= event.previous_chunks
            if isinstance(event, DocSettled):
                counter = _COUNTERS[event.status]
                setattr(state, counter, getattr(state, counter) + 1)
                state.chunks += event.chunks
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
    if settled > state.total_docs > 0:  # 0 stands for a total that is not known yet
        state.total_docs = settled
    state.current_progress = 100.0 * settled / state.total_docs if state.total_docs else 0.0
    return state
