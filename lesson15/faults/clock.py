"""A wall clock that jumps, as clocks do when somebody or NTP sets them.

The whole process sees it, through ``time.time()``; the monotonic clock, timeouts and
``datetime.now()`` do not.
"""

from __future__ import annotations

import threading
import time


class JumpingClock:
    """Shifts ``time.time`` for the process; two of them add up, in whatever order they end."""

    def __init__(self) -> None:
        self.offset = 0.0

    def jump(self, seconds: float) -> None:
        """Move the clock by ``seconds``, forwards or backwards."""
        self.offset += seconds
        with _lock:
            if self not in _clocks:
                _clocks.append(self)
            time.time = _shifted

    def restore(self) -> None:
        """Undo this clock's jumps."""
        with _lock:
            if self in _clocks:
                _clocks.remove(self)
            if not _clocks:
                time.time = _true_time


_true_time = time.time
_lock = threading.Lock()
_clocks: list[JumpingClock] = []


def _shifted() -> float:
    return _true_time() + sum(clock.offset for clock in tuple(_clocks))
