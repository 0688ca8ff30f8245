"""A circuit breaker: while a service is away, every call waits, and one probe at a time goes out.

Without it an outage would drain the batch into the dead-letter list, document by document.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from lesson15.errors import EmbedderRefusedError, Lesson15Error, ServiceOutageError
from lesson15.logs import get_logger
from lesson15.recovery import Decision, Trouble, classify

log = get_logger(__name__)

_SHORTEST_WAIT = 0.05
_LIMITED_SECONDS = 30.0

Probe = Callable[[], Awaitable[object]]


class Breaker:
    """Counts failures in a row, and holds every call while the service is away.

    Args:
        name: the embedder's, for messages.
        threshold: failures in a row that open it. Refusals because of the rate come in waves of
            parallel calls: such a wave counts once, and only if none was answered for a while.
        patience: seconds that the service may be away; 0: do not wait at all.
        first_wait: seconds before the first probe; each further wait is twice as long.
        longest_wait: seconds between two probes, at most.
        longest_told_wait: the same, where the service said when it wants to be asked again.
        probe: makes one small call.
        on_outage: called with the error when the breaker opens.
        on_recovery: called with the seconds that the service was away.
        classify: from an error to a decision.
    """

    def __init__(
        self,
        name: str,
        probe: Probe,
        *,
        threshold: int = 5,
        patience: float = 3600.0,
        first_wait: float = 1.0,
        longest_wait: float = 30.0,
        longest_told_wait: float = 300.0,
        on_outage: Callable[[Exception], object] = lambda _error: None,
        on_recovery: Callable[[float], object] = lambda _seconds: None,
        classify: Callable[[BaseException], Decision] = classify,
    ) -> None:
        self.name = name
        self._probe = probe
        self._threshold = threshold
        self._patience = patience
        self._first_wait = first_wait
        self._longest_wait = longest_wait
        self._longest_told_wait = longest_told_wait
        self._on_outage = on_outage
        self._on_recovery = on_recovery
        self._classify = classify
        self._in_a_row = 0
        self._untold = 0
        self._began = 0.0
        self._not_before = 0.0
        self._wave_ends = 0.0
        self._outage: asyncio.Task[None] | None = None
        self.outages = 0

    @property
    def is_open(self) -> bool:
        """Whether the service is taken to be away."""
        return self._outage is not None

    async def admit(self) -> None:
        """Wait until calls may be made.

        Raises:
            ServiceOutageError: the service stayed away for longer than the patience.
            EmbedderRefusedError: it came back and refuses everything.
        """
        loop = asyncio.get_running_loop()
        while True:
            if self._outage is not None:
                await asyncio.shield(self._outage)
            wait = self._not_before - loop.time()
            if wait <= 0:
                return
            await asyncio.sleep(wait)

    def succeed(self) -> None:
        """Count a call that was answered."""
        self._in_a_row = self._untold = 0

    def fail(self, error: Exception, decision: Decision, begun: float) -> None:
        """Count a call that was begun at ``begun`` (loop time) and failed for a passing reason."""
        now = asyncio.get_running_loop().time()
        if not self._in_a_row:
            self._began = begun
        is_of_service = decision.trouble is not Trouble.REQUEST_FAILED
        is_new_wave = begun >= self._wave_ends
        if is_new_wave or decision.trouble is not Trouble.RATE_LIMITED:
            self._in_a_row += 1
        wait = self._told(decision)
        if wait is None and is_of_service and is_new_wave:
            self._untold += 1
            wait = self._wait(self._untold)
        if wait is not None:
            self._not_before = max(self._not_before, now + wait)
            self._wave_ends = now
        is_limited = decision.trouble is Trouble.RATE_LIMITED
        if is_limited and now - self._began < _LIMITED_SECONDS:
            return  # it is up: waiting, and a slower pace, will do
        if self._in_a_row >= self._threshold:
            self.open(error)

    def open(self, error: Exception) -> None:
        """Hold every call from now on, because of ``error``, until a probe is answered."""
        if self._outage is None:
            if not self._in_a_row:
                self._began = asyncio.get_running_loop().time()
            self.outages += 1
            self._outage = asyncio.create_task(self._wait_until_back(error))
            self._outage.add_done_callback(_note_result)

    async def aclose(self) -> None:
        """Probe no more."""
        if self._outage is not None:
            self._outage.cancel()
            await asyncio.gather(self._outage, return_exceptions=True)

    def _wait(self, number: int) -> float:
        return min(self._first_wait * 2.0 ** (min(number, 60) - 1), self._longest_wait)

    def _told(self, decision: Decision) -> float | None:
        """Seconds that the service asked to wait, within bounds; None if it did not say."""
        seconds = decision.retry_after
        return None if seconds is None else min(seconds, self._longest_told_wait)

    async def _wait_until_back(self, error: Exception) -> None:
        """Probe until the service answers; raises once the patience is over."""
        loop, number, deadline = asyncio.get_running_loop(), 0, self._began + self._patience
        log.warning("embedding service away", embedder=self.name, error=str(error))
        self._on_outage(error)
        while True:
            number += 1
            left = deadline - loop.time()
            if left <= 0:
                raise ServiceOutageError(
                    embedder=self.name,
                    seconds=round(loop.time() - self._began),
                    detail=str(error) or type(error).__name__,
                ) from error
            told = self._told(self._classify(error))
            wait = self._wait(number) if told is None else told
            await asyncio.sleep(min(left, max(wait, _SHORTEST_WAIT)))
            try:
                await self._probe()
            except Exception as caught:  # noqa: BLE001 - judged by the policy table
                error = caught
                if not self._classify(error).is_transient:
                    raise refusal(self.name, error) from error
                log.info("embedding service still away", embedder=self.name, error=str(error))
            else:
                break
        seconds = loop.time() - self._began
        self._in_a_row, self._untold, self._not_before, self._outage = 0, 0, 0.0, None
        log.warning("embedding service back", embedder=self.name, seconds=round(seconds, 3))
        self._on_recovery(seconds)


def _note_result(outage: asyncio.Task[None]) -> None:
    """Look at how ``outage`` ended: there may be no call that waits for it."""
    if not outage.cancelled():
        outage.exception()


def refusal(name: str, error: Exception) -> Exception:
    """The error that ends a batch whose embedder refuses even a plain text because of ``error``."""
    if isinstance(error, Lesson15Error) and classify(error).name == "system error":
        return error
    return EmbedderRefusedError(model=name, detail=str(error) or type(error).__name__)
