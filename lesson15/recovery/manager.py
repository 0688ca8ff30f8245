"""Runs functions under the policy table."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, TypeVar

from lesson15 import plugins
from lesson15.logs import get_logger
from lesson15.plugins import Group
from lesson15.recovery.classify import TransientHook, classify
from lesson15.recovery.policy import Decision, Wait

T = TypeVar("T")
log = get_logger(__name__)
_LONGEST_WAIT_SECONDS = 60.0
_MOST_DOUBLINGS = 60  # more would be too large a number


def exponential_wait(delay: float, attempt: int) -> float:
    """Seconds to wait after attempt number ``attempt``, from 1: ``delay`` doubled each time, up to
    a minute, and up to ``delay`` more, so that those who failed together do not return together.
    """
    jitter = random.uniform(0, delay)  # noqa: S311 - no secret
    return min(delay * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS), _LONGEST_WAIT_SECONDS) + jitter


class ErrorRecoveryManager:
    """Runs a function under the policy table.

    Args:
        max_retries: retries after a network timeout; the other rows keep the table's count.
        retry_delay: seconds; the fixed wait, the step of the linear one, and the first
            exponential one.
        sleep: how to wait, for tests.
        is_transient: an opinion on errors that lesson15 does not know; see :func:`classify`.
        max_retry_after: seconds; a service that asks to wait longer is asked again after these.

    Raises:
        PluginError: a plugin's hook for transient errors cannot be used.
    """

    def __init__(
        self,
        max_retries: int = 3,
        retry_delay: float = 1.0,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        is_transient: TransientHook | None = None,
        max_retry_after: float = 300.0,
    ) -> None:
        plugins.load_all(Group.TRANSIENT)  # a broken one is told of now, not when something fails
        self.max_retries = max_retries
        self.retry_delay = retry_delay
        self.sleep = sleep
        self._is_transient = is_transient
        self._max_retry_after = max_retry_after

    def classify(self, error: BaseException) -> Decision:
        """The row of the policy table for ``error``, with this manager's ``is_transient``."""
        return classify(error, self._is_transient)

    def retries_for(self, error: BaseException) -> int:
        """How often ``error`` is retried."""
        decision = self.classify(error)
        is_configured = decision.is_transient and decision.retries > 0
        return self.max_retries if is_configured else decision.retries

    def wait_before_retry(self, error: BaseException, attempt: int) -> float | None:
        """Seconds to wait before another attempt, None if there is to be none.

        Args:
            error: what attempt number ``attempt`` failed with.
            attempt: counted from 1.
        """
        if attempt > self.retries_for(error):
            return None
        decision, delay = self.classify(error), self.retry_delay
        if decision.retry_after is not None:
            return min(decision.retry_after, self._max_retry_after)
        match decision.wait:
            case Wait.FIXED:
                return delay
            case Wait.LINEAR:
                return delay * attempt
            case Wait.EXPONENTIAL:
                return exponential_wait(delay, attempt)
            case Wait.NONE:
                return 0.0

    async def execute_with_retry(
        self, func: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any
    ) -> T:
        """``await func(*args, **kwargs)``, again and again as the table says.

        Raises:
            Exception: the last error.
        """
        for attempt in count(1):
            try:
                return await func(*args, **kwargs)
            except Exception as error:
                wait = self.wait_before_retry(error, attempt)
                if wait is None:
                    raise
                policy = self.classify(error).name
                log.warning("retrying", policy=policy, attempt=attempt, error=str(error))
                await self.sleep(wait)
        raise AssertionError  # the loop has no end
