"""Token buckets: how fast a service may be sent requests, and tokens.

Written out, because a call may be larger than the bucket (64 chunks of text against a small quota
of tokens), which the libraries at hand refuse: here it is let through, and the next one waits.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence

_BURST_SECONDS = 1.0
_LEARNING_SECONDS = 1.0
_SHORTEST_SAMPLE_SECONDS = 0.5
_SLOWEST_RATE = 1.0
_DOUBLING_SECONDS = 5.0
_REGAINING_SECONDS = 2.0
_LOWEST_PART = 4
_FORGETTING = 0.97
_DEEPEST_CUT, _SHALLOWEST_CUT = 0.5, 0.8


class TokenBucket:
    """Lets through ``per_minute`` units a minute, evenly, with a burst of one second's worth.

    Source: the generic cell rate algorithm (ITU-T I.371): instead of a level that drips, the time
    is kept at which the bucket will be full again. Waiters are served in the order of their coming.
    """

    def __init__(self, per_minute: float) -> None:
        self._seconds_per_unit = 60 / per_minute
        self._full_at = 0.0

    def reserve(self, amount: float, now: float) -> float:
        """Take ``amount``; how many seconds after ``now`` it may be used."""
        burst = max(_BURST_SECONDS, self._seconds_per_unit)
        self._full_at = max(self._full_at, now - burst)
        wait = self._full_at - now
        self._full_at += amount * self._seconds_per_unit
        return max(0.0, wait)


class LearnedPace:
    """How fast a service can be called, learnt from its refusals; no limit before the first one.

    The first refusal brings the rate down to that of the answers of late, a later one down by the
    share of calls that were refused of late, to between a half and four fifths; and then it doubles
    every five seconds. (The SDKs of AWS do alike in their adaptive mode.) So a limit that nobody
    told us is met by few refusals, which services often count as requests, too.

    A storm of refusals that has nothing to do with our rate must not bring that down to nothing: it
    stays above a quarter of the highest one, which is forgotten by three per cent at each cut, and
    the first half is soon regained.
    """

    def __init__(self) -> None:
        self._answers: deque[float] = deque()
        self._refusals: deque[float] = deque()
        self._rate = math.inf
        self._peak = 0.0
        self._raised_at = 0.0
        self._cut_at = -math.inf
        self._next = 0.0
        self._resumed_at = -math.inf

    def reserve(self, now: float) -> float:
        """Seconds after ``now`` at which the next call may be made.

        To be asked by one caller at a time, after the one before has waited: the rate may change.
        """
        if self._resumed_at == -math.inf:
            self._resumed_at = now
        self._raise(now)
        start = max(now, self._next)
        self._next = start + 1 / self._rate
        return start - now

    def resume(self, now: float) -> None:
        """Take note that calls were held back until now: the past says nothing of the rate."""
        self._resumed_at = self._raised_at = now
        self._answers.clear()
        self._refusals.clear()

    def succeeded(self, now: float) -> None:
        """Count an answer."""
        self._answers.append(now)
        _forget(self._answers, now)

    def refused(self, begun: float, now: float) -> None:
        """Count a refusal of a call that was begun at ``begun``; the first of a second counts."""
        self._refusals.append(now)
        for past in (self._answers, self._refusals):
            _forget(past, now)
        seconds = min(now - self._resumed_at, _LEARNING_SECONDS)
        if begun < self._cut_at or now - self._cut_at < _LEARNING_SECONDS:
            return
        if seconds < _SHORTEST_SAMPLE_SECONDS:
            return  # nothing is known yet; the wait that the service asks for has to do
        self._raise(now)
        answers = len(self._answers)
        if self._rate == math.inf:
            rate = answers / seconds
        else:
            share = answers / (answers + len(self._refusals))
            rate = self._rate * min(max(share, _DEEPEST_CUT), _SHALLOWEST_CUT)
            self._peak = max(self._rate, _FORGETTING * self._peak)
        self._rate = max(rate, self._peak / _LOWEST_PART, _SLOWEST_RATE)
        self._cut_at = now

    def _raise(self, now: float) -> None:
        # Time in which nothing was sent says nothing of what the service stands.
        seconds = min(now - self._raised_at, _LEARNING_SECONDS)
        is_low = self._rate < self._peak / 2
        self._rate *= 2.0 ** (seconds / (_REGAINING_SECONDS if is_low else _DOUBLING_SECONDS))
        self._raised_at = now


def _forget(past: deque[float], now: float) -> None:
    while past and past[0] < now - _LEARNING_SECONDS:
        past.popleft()


class Rates:
    """The limits of one service: those that it states (None is no limit), and what it refuses."""

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        self._requests = TokenBucket(requests_per_minute) if requests_per_minute else None
        self._tokens = TokenBucket(tokens_per_minute) if tokens_per_minute else None
        self._count = count_tokens or estimate_tokens
        self._pace = LearnedPace()
        self._turn = asyncio.Lock()

    async def admit(self, texts: Sequence[str]) -> None:
        """Wait until a call with ``texts`` may be made."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            wait = self._pace.reserve(loop.time())
            if wait:
                await asyncio.sleep(wait)
        now, wait = loop.time(), 0.0
        if self._requests:
            wait = self._requests.reserve(1, now)
        if self._tokens:
            wait = max(wait, self._tokens.reserve(sum(map(self._count, texts)), now))
        if wait:
            await asyncio.sleep(wait)

    def succeeded(self) -> None:
        """Count a call that was answered."""
        self._pace.succeeded(asyncio.get_running_loop().time())

    def resume(self) -> None:
        """Take note that calls were held back until now."""
        self._pace.resume(asyncio.get_running_loop().time())

    def refused(self, begun: float) -> None:
        """Count a call, begun at ``begun`` (loop time), that was refused because of the rate."""
        self._pace.refused(begun, asyncio.get_running_loop().time())


def estimate_tokens(text: str) -> int:
    """About as many tokens as the usual tokenizers make of ``text``: four ASCII characters are
    one, any other character is one by itself.
    """
    ascii_characters = len(text.encode("ascii", "ignore"))
    return ascii_characters // 4 + len(text) - ascii_characters + 1
