"""The engine: bounded workers over a streaming source, committing as they go."""

from __future__ import annotations

from lesson15.engine.processor import BatchProcessor

__all__ = ["BatchProcessor"]
