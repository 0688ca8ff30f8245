"""Where a fault can strike, what it can be, and which goes with which."""

from __future__ import annotations

from enum import StrEnum


class FaultPoint(StrEnum):
    """The steps of a batch. The first five concern documents, the last three files of the state.

    What a rule's ``documents`` is matched against: the document's id at ``read``, ``parse``,
    ``embed`` and ``result``; the operation ("add", "remove" or "save") at ``index``; the file's
    name ("journal.log", "segment.bin", "checkpoint.json", "manifest.json") at ``checkpoint_write``,
    ``fsync`` and ``rename``, and at ``fsync`` of a batch's folder also "folder".
    """

    READ = "read"
    PARSE = "parse"
    EMBED = "embed"
    INDEX = "index"
    RESULT = "result"
    CHECKPOINT_WRITE = "checkpoint_write"
    FSYNC = "fsync"
    RENAME = "rename"


class FaultKind(StrEnum):
    """What happens. The first five are the rows of the policy table (:mod:`lesson15.recovery`).

    ``delay`` lasts the rule's ``seconds``; ``hang`` lasts until a timeout ends it, the plan is
    changed or the run ends. ``disk_full`` and ``torn_write`` at ``checkpoint_write`` leave a part
    of the bytes behind. After ``unflushed_write`` an fsync has lied: what it should have made
    durable is gone once ``kill`` strikes. ``kill`` is SIGKILL to the process that does the step:
    the parser's at ``read`` and ``parse``, the batch's elsewhere.

    Of a service at the other end of a wire: ``rate_limited`` refuses calls for the rule's
    ``seconds`` and says so, ``unavailable`` refuses them for that long and does not say it,
    ``slow_network`` makes a call last about so much longer, ``partial_answer`` loses a part of one
    answer. ``clock_jump`` moves the wall clock of the process by ``seconds``, which may be negative
    there, until the run ends; each such fault adds to those before it.
    """

    NETWORK_TIMEOUT = "network_timeout"
    FILE_NOT_FOUND = "file_not_found"
    OUT_OF_MEMORY = "out_of_memory"
    PARSE_ERROR = "parse_error"
    SYSTEM_ERROR = "system_error"
    DELAY = "delay"
    HANG = "hang"
    DISK_FULL = "disk_full"
    TORN_WRITE = "torn_write"
    UNFLUSHED_WRITE = "unflushed_write"
    BIT_FLIP = "bit_flip"
    KILL = "kill"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    SLOW_NETWORK = "slow_network"
    PARTIAL_ANSWER = "partial_answer"
    CLOCK_JUMP = "clock_jump"


_ANYWHERE = {FaultKind.SYSTEM_ERROR, FaultKind.DELAY, FaultKind.HANG, FaultKind.KILL}
_OF_A_DOCUMENT = _ANYWHERE | {
    FaultKind.NETWORK_TIMEOUT,
    FaultKind.FILE_NOT_FOUND,
    FaultKind.OUT_OF_MEMORY,
    FaultKind.PARSE_ERROR,
}
_OF_A_SERVICE = {FaultKind.RATE_LIMITED, FaultKind.UNAVAILABLE}
_OF_A_DISK = _ANYWHERE | {FaultKind.DISK_FULL}

ALLOWED: dict[FaultPoint, set[FaultKind]] = {
    FaultPoint.READ: _OF_A_DOCUMENT,
    FaultPoint.PARSE: _OF_A_DOCUMENT,
    FaultPoint.EMBED: _OF_A_DOCUMENT
    | _OF_A_SERVICE
    | {FaultKind.SLOW_NETWORK, FaultKind.PARTIAL_ANSWER},
    FaultPoint.INDEX: _OF_A_DISK
    | {FaultKind.NETWORK_TIMEOUT, FaultKind.OUT_OF_MEMORY, FaultKind.SLOW_NETWORK},
    FaultPoint.RESULT: _OF_A_DOCUMENT | _OF_A_SERVICE | {FaultKind.CLOCK_JUMP},
    FaultPoint.CHECKPOINT_WRITE: _OF_A_DISK
    | {FaultKind.TORN_WRITE, FaultKind.BIT_FLIP, FaultKind.CLOCK_JUMP},
    FaultPoint.FSYNC: _OF_A_DISK | {FaultKind.UNFLUSHED_WRITE},
    FaultPoint.RENAME: _OF_A_DISK,
}
"""The kinds that make sense at each point."""
