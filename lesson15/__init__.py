"""Batch processing with checkpoint and resume.

Importing this package is cheap: the engine, and with it numpy and the stores, is loaded when one
of its names is first used, and the embedding model when the first text is embedded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lesson15.checkpoint import CheckpointManager
    from lesson15.distributed import DistributedProcessor
    from lesson15.engine.batch import Batch
    from lesson15.engine.facade import run
    from lesson15.engine.processor import BatchProcessor
    from lesson15.engine.searching import Searcher
    from lesson15.engine.verify import verify
    from lesson15.errors import RateLimited, ServiceUnavailable
    from lesson15.models import (
        BatchReport,
        BatchState,
        DocStatus,
        ProcessingResult,
        ProgressInfo,
        SearchHit,
    )
    from lesson15.progress import ProgressTracker
    from lesson15.recovery import ErrorRecoveryManager
    from lesson15.replay import Recording
    from lesson15.settings import Settings

_HOMES = {
    "Batch": "lesson15.engine.batch",
    "BatchProcessor": "lesson15.engine.processor",
    "BatchReport": "lesson15.models",
    "BatchState": "lesson15.models",
    "CheckpointManager": "lesson15.checkpoint",
    "DistributedProcessor": "lesson15.distributed",
    "DocStatus": "lesson15.models",
    "ErrorRecoveryManager": "lesson15.recovery",
    "ProcessingResult": "lesson15.models",
    "ProgressInfo": "lesson15.models",
    "ProgressTracker": "lesson15.progress",
    "RateLimited": "lesson15.errors",
    "Recording": "lesson15.replay",
    "SearchHit": "lesson15.models",
    "Searcher": "lesson15.engine.searching",
    "ServiceUnavailable": "lesson15.errors",
    "Settings": "lesson15.settings",
    "run": "lesson15.engine.facade",
    "verify": "lesson15.engine.verify",
}

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "BatchProcessor",
    "BatchReport",
    "BatchState",
    "CheckpointManager",
    "DistributedProcessor",
    "DocStatus",
    "ErrorRecoveryManager",
    "ProcessingResult",
    "ProgressInfo",
    "ProgressTracker",
    "RateLimited",
    "Recording",
    "SearchHit",
    "Searcher",
    "ServiceUnavailable",
    "Settings",
    "run",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
