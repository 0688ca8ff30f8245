"""Durable state of a batch: journal, segment, checkpoint document, lock."""

from lesson15.checkpoint.manager import CheckpointManager

__all__ = ["CheckpointManager"]
