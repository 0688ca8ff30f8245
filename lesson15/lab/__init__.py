"""Batches that a notebook can start, watch and break while it goes on working.

A cell returns at once: the engine runs in a worker process (or a thread) and reports back.
"""

from __future__ import annotations

from lesson15.lab.session import BatchSession

__all__ = ["BatchSession"]
