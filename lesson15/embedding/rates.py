"""Token buckets: how fast a service may be sent requests, and tokens.

Written out, because a call may be larger than the bucket (64 chunks of text against a small quota
of tokens), which the libraries at hand refuse: here it is let through, and the next one waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

_BURST_SECONDS = 1.0


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


class Rates:
    """The limits of one service; None is no limit."""

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        self._requests = TokenBucket(requests_per_minute) if requests_per_minute else None
        self._tokens = TokenBucket(tokens_per_minute) if tokens_per_minute else None
        self._count = count_tokens or estimate_tokens

    async def admit(self, texts: Sequence[str]) -> None:
        """Wait until a call with ``texts`` may be made."""
        now = asyncio.get_running_loop().time()
        wait = self._requests.reserve(1, now) if self._requests else 0.0
        if self._tokens:
            wait = max(wait, self._tokens.reserve(sum(map(self._count, texts)), now))
        if wait:
            await asyncio.sleep(wait)


def estimate_tokens(text: str) -> int:
    """About as many tokens as the usual tokenizers make of ``text``: four ASCII characters are
    one, any other character is one by itself.
    """
    ascii_characters = len(text.encode("ascii", "ignore"))
    return ascii_characters // 4 + len(text) - ascii_characters + 1
