"""What to do when something fails: a policy table, applied by tenacity.

| error           | action                                | retries | wait                |
|-----------------|---------------------------------------|---------|---------------------|
| network timeout | retry                                 | 3       | exponential, jitter |
| file not found  | skip                                  | 0       | -                   |
| out of memory   | wait, lower concurrency, retry        | 5       | linear              |
| parse error     | log, skip to the dead-letter list     | 1       | fixed               |
| system error    | abort, checkpoint kept                | 0       | -                   |

A decision is a value: :func:`classify` maps an exception to a row of the table and nothing else.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
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

from lesson15 import errors
from lesson15.logs import get_logger

T = TypeVar("T")
log = get_logger(__name__)


class Action(StrEnum):
    """What becomes of the document, or of the batch, once the retries are used up."""

    FAIL = "fail"
    SKIP = "skip"
    ABORT = "abort"


class Wait(StrEnum):
    """How the wait between two attempts grows."""

    NONE = "none"
    FIXED = "fixed"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True)
class Decision:
    """One row of the policy table."""

    name: str
    action: Action
    retries: int
    wait: Wait
    lower_concurrency: bool = False


NETWORK_TIMEOUT = Decision("network timeout", Action.FAIL, 3, Wait.EXPONENTIAL)
FILE_NOT_FOUND = Decision("file not found", Action.SKIP, 0, Wait.NONE)
OUT_OF_MEMORY = Decision("out of memory", Action.FAIL, 5, Wait.LINEAR, lower_concurrency=True)
PARSE_ERROR = Decision("parse error", Action.FAIL, 1, Wait.FIXED)
SYSTEM_ERROR = Decision("system error", Action.ABORT, 0, Wait.NONE)
POLICY = (NETWORK_TIMEOUT, FILE_NOT_FOUND, OUT_OF_MEMORY, PARSE_ERROR, SYSTEM_ERROR)

_SYSTEM_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def classify(error: BaseException) -> Decision:
    """The row of the policy table for ``error``; what is not known is a parse error."""
    if isinstance(error, errors.StorageError | errors.EmbeddingModelError):
        return SYSTEM_ERROR
    if isinstance(error, errors.DocumentError):
        return PARSE_ERROR
    if isinstance(error, FileNotFoundError):
        return FILE_NOT_FOUND
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    if isinstance(error, TimeoutError | ConnectionError):
        return NETWORK_TIMEOUT
    if isinstance(error, OSError) and error.errno in _SYSTEM_ERRNOS:
        return SYSTEM_ERROR
    return PARSE_ERROR


class ErrorRecoveryManager:
    """Runs a function under the policy table.

    Args:
        max_retries: retries after a network timeout; the other rows keep the table's count.
        retry_delay: seconds; the fixed wait, the step of the linear one, and the first
            exponential one.
        sleep: how to wait, for tests.
        on_pressure: called before each wait that a memory error causes.
    """

    def __init__(
        self,
        max_retries: int = 3,
        retry_delay: float = 1.0,
        *,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        on_pressure: Callable[[], object] | None = None,
    ) -> None:
        self.max_retries = max_retries
        self.retry_delay = retry_delay
        self._sleep = sleep
        self._on_pressure = on_pressure
        self._waits: dict[Wait, wait_base] = {
            Wait.NONE: wait_fixed(0),
            Wait.FIXED: wait_fixed(retry_delay),
            Wait.LINEAR: wait_incrementing(retry_delay, retry_delay),
            Wait.EXPONENTIAL: wait_exponential(multiplier=retry_delay, max=60)
            + wait_random(0, retry_delay),
        }

    def retries_for(self, error: BaseException) -> int:
        """How often ``error`` is retried."""
        decision = classify(error)
        return self.max_retries if decision is NETWORK_TIMEOUT else decision.retries

    async def execute_with_retry(
        self, func: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any
    ) -> T:
        """``await func(*args, **kwargs)``, again and again as the table says.

        Raises:
            Exception: the last error; its ``attempts`` attribute counts the calls.
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
        return self._waits[classify(_error_of(call)).wait](call)

    def _before_sleep(self, call: RetryCallState) -> None:
        error = _error_of(call)
        decision = classify(error)
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
    error.attempts = call.attempt_number  # type: ignore[attr-defined]
    raise error
