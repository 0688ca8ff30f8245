"""How many documents may be in work: a limit that yields to memory pressure and load.

Additive increase, multiplicative decrease, as TCP does it (Chiu and Jain, 1989): pressure halves
the limit, and each full round of successes raises it by one, up to the configured maximum.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import psutil

from lesson15.logs import get_logger

log = get_logger(__name__)

_CGROUP = Path("/sys/fs/cgroup")
_PERIOD_SECONDS = 0.25


class AdaptiveLimit:
    """A limit between 1 and ``maximum``; it starts at the maximum.

    ``on_change`` is called with the new limit and the reason.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.current = maximum
        self.on_change: Callable[[int, str], None] = lambda _limit, _reason: None
        self._successes = 0
        self._raised = asyncio.Event()
        self._is_over = False

    def succeed(self) -> None:
        """Count one document done; a full round of them raises the limit by one."""
        if self.current == self.maximum:
            return
        self._successes += 1
        if self._successes >= self.current:
            self._successes = 0
            self.current += 1
            self._raised.set()
            self._raised = asyncio.Event()
            self.on_change(self.current, "a full round of documents succeeded")

    def lower(self, reason: str) -> None:
        """Halve the limit, because of ``reason``."""
        self._successes = 0
        if self.current > 1:
            self.current = max(1, self.current // 2)
            log.warning("concurrency lowered", limit=self.current, reason=reason)
            self.on_change(self.current, reason)

    async def admit(self, number: int) -> None:
        """Wait until worker ``number`` (from 0) is within the limit, or all work is given out."""
        while number >= self.current and not self._is_over:
            await self._raised.wait()

    def end(self) -> None:
        """Let every worker pass: there is no more work, and each must learn of it."""
        self._is_over = True
        self._raised.set()


class PressureMonitor:
    """Watches free memory and the lag of the event loop, and lowers a limit when either is bad."""

    def __init__(
        self,
        limit: AdaptiveLimit,
        memory_low_fraction: float,
        loop_lag_limit: float,
        period: float = _PERIOD_SECONDS,
    ) -> None:
        self._limit = limit
        self._memory_low_fraction = memory_low_fraction
        self._loop_lag_limit = loop_lag_limit
        self._period = period
        self._was_lagging = False

    async def watch(self) -> None:
        """Look every ``period`` seconds, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._period
            await asyncio.sleep(self._period)
            self.look(loop.time() - due, free_memory_fraction())

    def look(self, lag: float, free_fraction: float) -> None:
        """Judge one reading: ``lag`` in seconds, ``free_fraction`` from 0 to 1.

        A single lag is let pass: importing a model holds the interpreter for a moment.
        """
        is_lagging = lag > self._loop_lag_limit
        if free_fraction < self._memory_low_fraction:
            self._limit.lower(f"only {free_fraction:.1%} of memory is free")
        elif is_lagging and self._was_lagging:
            self._limit.lower(f"the event loop lags by {lag:.2f} s")
        self._was_lagging = is_lagging


def free_memory_fraction(cgroup: Path = _CGROUP) -> float:
    """The share of memory that is free, of the machine or of this container if it is less."""
    memory = psutil.virtual_memory()
    fraction = memory.available / memory.total
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        if limit != "max":
            used = int((cgroup / "memory.current").read_text())
            fraction = min(fraction, 1 - used / int(limit))
    except (OSError, ValueError):  # no cgroup v2 here
        pass
    return fraction
