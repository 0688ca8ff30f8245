"""What is shown of a batch, the same by every interface."""

from __future__ import annotations

from typing import Any

from lesson15.checkpoint.layout import is_locked
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.models import BatchState, BatchStatus


def view_of(manager: CheckpointManager, state: BatchState) -> dict[str, Any]:
    """The batch of ``state`` as JSON-ready values.

    ``status`` is "interrupted" where a batch was killed; ``eta`` is in seconds, None while nothing
    can be estimated; the rest is as in :class:`lesson15.models.BatchState`.
    """
    is_live = is_locked(manager.folder(state.batch_id))
    shown = state.status.value
    if state.status is BatchStatus.RUNNING and not is_live:
        shown = "interrupted"
    eta = None
    left = state.total_docs - state.settled_docs
    if not left:
        eta = 0.0
    elif is_live and state.settled_docs and state.last_checkpoint:
        eta = left * (state.last_checkpoint - state.start_time) / state.settled_docs
    return {
        "batch_id": state.batch_id,
        "status": shown,
        "total_docs": state.total_docs,
        "processed_docs": state.processed_docs,
        "failed_docs": state.failed_docs,
        "skipped_docs": state.skipped_docs,
        "progress_percent": round(state.current_progress, 2),
        "eta": eta,
        "chunks": state.chunks,
        "start_time": state.start_time,
        "last_checkpoint": state.last_checkpoint,
    }
