"""What to do when something fails: a policy table."""

from __future__ import annotations

from lesson15.recovery.classify import TransientHook, classify
from lesson15.recovery.manager import ErrorRecoveryManager, exponential_wait
from lesson15.recovery.policy import (
    FILE_NOT_FOUND,
    NETWORK_TIMEOUT,
    OUT_OF_MEMORY,
    PARSE_ERROR,
    POLICY,
    RATE_LIMITED,
    REFUSED,
    SYSTEM_ERROR,
    UNAVAILABLE,
    Action,
    Decision,
    Trouble,
    Wait,
)

__all__ = [
    "FILE_NOT_FOUND",
    "NETWORK_TIMEOUT",
    "OUT_OF_MEMORY",
    "PARSE_ERROR",
    "POLICY",
    "RATE_LIMITED",
    "REFUSED",
    "SYSTEM_ERROR",
    "UNAVAILABLE",
    "Action",
    "Decision",
    "ErrorRecoveryManager",
    "TransientHook",
    "Trouble",
    "Wait",
    "classify",
    "exponential_wait",
]
