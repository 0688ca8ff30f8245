"""Seeded universes: the whole engine, as it is shipped, under a schedule that a seed decides.

A universe is a batch of a few documents and everything that can happen to it: threads, commits and
parser processes go on in any order, calls are slow, workers are paused, documents change, faults
strike, and the power goes at any moment. Its time is virtual, so that hours pass in no time, and
the same seed makes the same universe, byte for byte. One that breaks a promise is shrunk to the
smallest, told as a story, and kept in a file.

Example:
    >>> outcome = run_universe(17)
    >>> outcome.violation is None
    True
    >>> outcome.journal == run_universe(17).journal
    True
"""

from __future__ import annotations

from lesson15.simulation.oracle import Violation
from lesson15.simulation.search import Found, Progress, search
from lesson15.simulation.shrink import shrink
from lesson15.simulation.story import load, save, tell
from lesson15.simulation.universe import Outcome, run_universe

__all__ = [
    "Found",
    "Outcome",
    "Progress",
    "Violation",
    "load",
    "run_universe",
    "save",
    "search",
    "shrink",
    "tell",
]
