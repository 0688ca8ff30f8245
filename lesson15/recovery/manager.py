"""Runs functions under the policy table, by tenacity."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    wait_exponential,
    wait_fixed,
    wait_incrementing,
    wait_random,
)
from tenacity.wait import wait_base

from lesson15.errors import RepeatedCallError
from lesson15.logs import get_logger
from lesson15.recovery.classify import TransientHook, classify, load_hooks
from lesson15.recovery.policy import Decision, Wait

T = TypeVar("T")
log = get_logger(__name__)


class ErrorRecoveryManager:
    """Runs a function under the policy table.

    Args:
        max_retries: retries after a network timeout; the other rows keep the table's count.
        retry_delay: seconds; the fixed wait, the step of the linear one, and the first
            exponential one.
        sleep: how to wait, for tests.
        on_pressure: called before each wait that a memory error causes.
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
        sleep: Callable[[float], Awaitable[None]] | None = None,
        on_pressure: Callable[[], object] | None = None,
        is_transient: TransientHook | None = None,
        max_retry_after: float = 300.0,
    ) -> None:
        load_hooks()  # a broken one is told of now, not when something fails
        self.max_retries = max_retries
        self.retry_delay = retry_delay
        self._sleep = sleep
        self._on_pressure = on_pressure
        self._is_transient = is_transient
        self._max_retry_after = max_retry_after
        self._waits: dict[Wait, wait_base] = {
            Wait.NONE: wait_fixed(0),
            Wait.FIXED: wait_fixed(retry_delay),
            Wait.LINEAR: wait_incrementing(retry_delay, retry_delay),
            Wait.EXPONENTIAL: wait_exponential(multiplier=retry_delay, max=60)
            + wait_random(0, retry_delay),
        }

    def retries_for(self, error: BaseException) -> int:
        """How often ``error`` is retried."""
        decision = self.classify(error)
        table = decision.is_transient and decision.retries > 0
        return self.max_retries if table else decision.retries

    def classify(self, error: BaseException) -> Decision:
        """The row of the policy table for ``error``, with this manager's ``is_transient``."""
        return classify(error, self._is_transient)

    async def execute_with_retry(
        self, func: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any
    ) -> T:
        """``await func(*args, **kwargs)``, again and again as the table says.

        Raises:
            Exception: the last error; its ``attempts`` attribute counts the attempts.
        """
        return await self.recover(None, func, *args, **kwargs)

    async def recover(
        self,
        first_error: Exception | None,
        func: Callable[..., Awaitable[T]],
        *args: Any,
        **kwargs: Any,
    ) -> T:
        """As :meth:`execute_with_retry`, after a first attempt that ended in ``first_error``."""

        async def attempt() -> T:
            nonlocal first_error
            if first_error is not None:
                error, first_error = first_error, None
                raise error
            return await func(*args, **kwargs)

        options: dict[str, Any] = {"sleep": self._sleep} if self._sleep else {}
        retrying = AsyncRetrying(
            stop=self._must_stop,
            wait=self._wait,
            before_sleep=self._before_sleep,
            retry_error_callback=_reraise,
            **options,
        )
        return await retrying(attempt)

    def _must_stop(self, call: RetryCallState) -> bool:
        error = _error_of(call)
        return call.attempt_number > self.retries_for(error)

    def _wait(self, call: RetryCallState) -> float:
        decision = self.classify(_error_of(call))
        if decision.retry_after is not None:
            return min(decision.retry_after, self._max_retry_after)
        return self._waits[decision.wait](call)

    def _before_sleep(self, call: RetryCallState) -> None:
        error = _error_of(call)
        decision = self.classify(error)
        log.warning("retrying", policy=decision.name, attempt=call.attempt_number, error=str(error))
        if decision.lower_concurrency and self._on_pressure:
            self._on_pressure()


def _error_of(call: RetryCallState) -> BaseException:
    assert call.outcome is not None  # noqa: S101 - tenacity sets it before it asks
    error = call.outcome.exception()
    assert error is not None  # noqa: S101 - only failures are asked about
    return error


def _reraise(call: RetryCallState) -> Any:
    error = _error_of(call)
    # An embedder's call may have been repeated by itself before: those count, too.
    before = error.attempts if isinstance(error, RepeatedCallError) else 1
    error.attempts = max(before, call.attempt_number)  # type: ignore[attr-defined]
    raise error
