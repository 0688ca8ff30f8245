"""What to do when something fails: a policy table.

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

import asyncio
import errno
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any, TypeVar

from lesson15 import errors
from lesson15.logs import get_logger

T = TypeVar("T")
log = get_logger(__name__)
_LONGEST_WAIT_SECONDS = 60.0


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
    """

    def __init__(
        self,
        max_retries: int = 3,
        retry_delay: float = 1.0,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.max_retries = max_retries
        self.retry_delay = retry_delay
        self.sleep = sleep

    def retries_for(self, error: BaseException) -> int:
        """How often ``error`` is retried."""
        decision = classify(error)
        return self.max_retries if decision is NETWORK_TIMEOUT else decision.retries

    def wait_before_retry(self, error: BaseException, attempt: int) -> float | None:
        """Seconds to wait before another attempt, None if there is to be none.

        Args:
            error: what attempt number ``attempt`` failed with.
            attempt: counted from 1.
        """
        if attempt > self.retries_for(error):
            return None
        delay = self.retry_delay
        match classify(error).wait:
            case Wait.FIXED:
                return delay
            case Wait.LINEAR:
                return delay * attempt
            case Wait.EXPONENTIAL:
                jitter = random.uniform(0, delay)  # noqa: S311 - it spreads load, no secret
                return min(delay * 2.0 ** (attempt - 1), _LONGEST_WAIT_SECONDS) + jitter
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
                log.warning(
                    "retrying", policy=classify(error).name, attempt=attempt, error=str(error)
                )
                await self.sleep(wait)
        raise AssertionError  # the loop has no end
