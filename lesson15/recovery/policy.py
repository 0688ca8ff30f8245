"""The policy table: what to do when something fails.

| error           | action                                | retries | wait                |
|-----------------|---------------------------------------|---------|---------------------|
| network timeout | retry                                 | 3       | exponential, jitter |
| file not found  | skip                                  | 0       | -                   |
| out of memory   | wait, lower concurrency, retry        | 5       | linear              |
| parse error     | log, skip to the dead-letter list     | 1       | fixed               |
| system error    | abort, checkpoint kept                | 0       | -                   |

A decision is a value. Some errors get a variant of a row: a service that says when to come back has
its ``retry_after``, and input that can never be accepted is not tried a second time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


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


class Trouble(StrEnum):
    """What a passing error says about the other side; see :mod:`lesson15.embedding.calls`."""

    REQUEST_FAILED = "request failed"
    """This request failed: a timeout, a cut connection, an internal error. The request itself may
    be the cause."""
    UNAVAILABLE = "unavailable"
    """The service cannot be reached, or says that it is down: no request would succeed."""
    RATE_LIMITED = "rate limited"
    """The service is up and wants fewer requests."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A row of the policy table, or a variant of one.

    Attributes:
        name: the row's name.
        action: what happens once the retries are used up.
        retries: how many more attempts are made.
        wait: how the wait before each of them grows.
        lower_concurrency: whether fewer documents should be in work.
        retry_after: seconds that the other side asked to wait, None if it did not say.
        trouble: of a network timeout, what is known about the other side.
    """

    name: str
    action: Action
    retries: int
    wait: Wait
    lower_concurrency: bool = False
    retry_after: float | None = None
    trouble: Trouble | None = None

    @property
    def is_transient(self) -> bool:
        """Whether the error is of a kind that passes by itself."""
        return self.name == NETWORK_TIMEOUT.name


NETWORK_TIMEOUT = Decision(
    "network timeout", Action.FAIL, 3, Wait.EXPONENTIAL, trouble=Trouble.REQUEST_FAILED
)
FILE_NOT_FOUND = Decision("file not found", Action.SKIP, 0, Wait.NONE)
OUT_OF_MEMORY = Decision("out of memory", Action.FAIL, 5, Wait.LINEAR, lower_concurrency=True)
PARSE_ERROR = Decision("parse error", Action.FAIL, 1, Wait.FIXED)
SYSTEM_ERROR = Decision("system error", Action.ABORT, 0, Wait.NONE)
POLICY = (NETWORK_TIMEOUT, FILE_NOT_FOUND, OUT_OF_MEMORY, PARSE_ERROR, SYSTEM_ERROR)

UNAVAILABLE = replace(NETWORK_TIMEOUT, trouble=Trouble.UNAVAILABLE)
RATE_LIMITED = replace(NETWORK_TIMEOUT, trouble=Trouble.RATE_LIMITED)
REFUSED = replace(PARSE_ERROR, retries=0, wait=Wait.NONE)
"""Input that is refused for what it is: another attempt would end the same way."""
