"""From an exception to a row of the policy table, and nothing else.

An exception is judged by what it is and carries: a class of lesson15, the opinion of a plugin, a
class that a library is known to raise, a gRPC or service code, an HTTP status, an error number. If
that says nothing, the exception that caused it is asked, and so on. A group of exceptions is as bad
as the worst of its members.
"""

from __future__ import annotations

import math
import socket
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

from lesson15 import errors, plugins
from lesson15.logs import get_logger
from lesson15.plugins import Group
from lesson15.recovery.evidence import (
    attribute,
    grpc_code,
    http_status,
    retry_after,
    service_codes,
)
from lesson15.recovery.families import (
    BY_GRPC_CODE,
    BY_SERVICE_CODE,
    by_class,
    by_errno,
    by_loose_name,
    by_status,
)
from lesson15.recovery.policy import (
    FILE_NOT_FOUND,
    NETWORK_TIMEOUT,
    OUT_OF_MEMORY,
    PARSE_ERROR,
    RATE_LIMITED,
    REFUSED,
    SYSTEM_ERROR,
    UNAVAILABLE,
    Action,
    Decision,
)

log = get_logger(__name__)

TransientHook = Callable[[BaseException], bool | float | None]
"""Says of an error whether it passes by itself: a bool, the seconds to wait, or None if it does
not know."""

_REFUSED_DOCUMENTS = (
    errors.UnsupportedFormatError,
    errors.EmptyDocumentError,
    errors.NoTextError,
    errors.BinaryDocumentError,
    errors.EncryptedDocumentError,
    errors.DocumentTooLargeError,
    errors.OutsideRootsError,
    errors.NotAFileError,
)
_ABORTING = (errors.StorageError, errors.EmbeddingModelError)
_MEMORY_PHRASES = ("out of memory", "can't allocate memory", "bad_alloc", "ALLOC_FAILED")
_SQLITE = {
    sqlite3.SQLITE_BUSY: NETWORK_TIMEOUT,
    sqlite3.SQLITE_LOCKED: NETWORK_TIMEOUT,
    sqlite3.SQLITE_NOMEM: OUT_OF_MEMORY,
    sqlite3.SQLITE_FULL: SYSTEM_ERROR,
    sqlite3.SQLITE_IOERR: SYSTEM_ERROR,
    sqlite3.SQLITE_READONLY: SYSTEM_ERROR,
    sqlite3.SQLITE_CANTOPEN: SYSTEM_ERROR,
}


def classify(error: BaseException, is_transient: TransientHook | None = None) -> Decision:
    """The row of the policy table for ``error``, or a variant of it.

    Args:
        error: what was raised.
        is_transient: an opinion that is asked before those of plugins (the entry points of the
            group ``lesson15.transient``). Errors of lesson15 itself are not put to it.

    Returns:
        What is not known is a parse error.
    """
    hooks = () if is_transient is None else (is_transient,)
    return _classify(error, hooks + plugin_hooks(), set()) or PARSE_ERROR


@cache
def plugin_hooks() -> tuple[TransientHook, ...]:
    """The hooks of plugins, without one that is broken: an error must not hide another."""
    try:
        return tuple(plugins.load_all(Group.TRANSIENT).values())
    except errors.PluginError as error:
        log.warning("transient hooks are not used", error=str(error))
        return ()


def _classify(
    error: BaseException, hooks: tuple[TransientHook, ...], seen: set[int]
) -> Decision | None:
    is_the_error_itself = not seen
    for link in chain(error):
        if id(link) in seen:
            continue
        seen.add(id(link))
        if isinstance(link, BaseExceptionGroup):
            found = [_classify(member, hooks, set()) for member in link.exceptions]
            return max((one or PARSE_ERROR for one in found), key=_badness)
        if isinstance(link, errors.RepeatedCallError):
            return replace(_classify(link.error, hooks, set()) or PARSE_ERROR, retries=0)
        decision = _of_lesson15(link)
        if decision is None:
            decision = _with_hooks(link, hooks, _judge(link, is_the_error_itself))
        if decision is not None:
            return _as_told(decision, link)
        is_the_error_itself = False
    return None


def chain(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what caused it, the nearest first; ``raise ... from None`` ends it."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        # Clients also keep the cause in `reason` (urllib, urllib3) or `args` (httpcore, requests).
        for held in (attribute(link, "reason"), *link.args):
            if isinstance(held, BaseException) and not isinstance(link, BaseExceptionGroup):
                yield from chain(held)
        if link.__cause__ is not None:
            link = link.__cause__
        else:
            link = None if link.__suppress_context__ else link.__context__


def _of_lesson15(error: BaseException) -> Decision | None:
    if isinstance(error, _ABORTING):
        return SYSTEM_ERROR
    if isinstance(error, errors.RateLimited):
        return RATE_LIMITED
    if isinstance(error, errors.ServiceUnavailable):
        return UNAVAILABLE
    if isinstance(error, errors.NetworkTimeoutError | errors.InvalidAnswerError):
        return NETWORK_TIMEOUT
    if isinstance(error, errors.RefusedTextError):
        return REFUSED
    if isinstance(error, errors.DocumentError):
        return REFUSED if isinstance(error, _REFUSED_DOCUMENTS) else PARSE_ERROR
    if isinstance(error, errors.DocumentNotFoundError):
        return FILE_NOT_FOUND
    return OUT_OF_MEMORY if isinstance(error, errors.OutOfMemoryError) else None


def _judge(error: BaseException, is_the_error_itself: bool) -> Decision | None:  # noqa: FBT001, RUF100 - internal
    if isinstance(error, MemoryError) or _speaks_of_memory(error):
        return OUT_OF_MEMORY
    code = grpc_code(error)
    if code in BY_GRPC_CODE:
        return BY_GRPC_CODE[code]
    for service_code in service_codes(error):
        if service_code in BY_SERVICE_CODE:
            return BY_SERVICE_CODE[service_code]
    decision = by_class(error)
    if decision is not None:
        return _refine(decision, error)
    status = http_status(error)
    if status is not None:
        return by_status(status)
    if isinstance(error, sqlite3.Error):
        return _SQLITE.get((attribute(error, "sqlite_errorcode") or 0) & 0xFF)
    if isinstance(error, OSError):
        return _judge_os_error(error, is_the_error_itself)
    return by_loose_name(error)


def _judge_os_error(error: OSError, is_the_error_itself: bool) -> Decision | None:  # noqa: FBT001, RUF100 - internal
    if isinstance(error, ssl.SSLError):
        return SYSTEM_ERROR if _is_distrust(error) else NETWORK_TIMEOUT
    if isinstance(error, socket.gaierror | socket.herror):
        return UNAVAILABLE
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        # As the cause of another error it is some other file, and the document is not skipped.
        return FILE_NOT_FOUND if is_the_error_itself else None
    decision = by_errno(error.errno)
    if decision is None and isinstance(error, TimeoutError | ConnectionError):
        return UNAVAILABLE if isinstance(error, ConnectionRefusedError) else NETWORK_TIMEOUT
    return decision or by_loose_name(error)


def _refine(decision: Decision, error: BaseException) -> Decision:
    """What ``decision``, made by the class of ``error``, is in view of what caused that."""
    if _is_distrust(error):
        return SYSTEM_ERROR
    if decision is NETWORK_TIMEOUT:
        causes = list(chain(error))[1:]
        if any(_judge(cause, is_the_error_itself=False) is UNAVAILABLE for cause in causes):
            return UNAVAILABLE
    return decision


def _is_distrust(error: BaseException) -> bool:
    """Whether the other side's certificate was refused, which no waiting mends."""
    return any(isinstance(link, ssl.SSLCertVerificationError) for link in chain(error))


def _speaks_of_memory(error: BaseException) -> bool:
    """PyTorch and C++ libraries tell of memory in the text of a RuntimeError."""
    return isinstance(error, RuntimeError) and any(
        phrase in str(error) for phrase in _MEMORY_PHRASES
    )


def _with_hooks(
    error: BaseException, hooks: tuple[TransientHook, ...], decision: Decision | None
) -> Decision | None:
    for hook in hooks:
        try:
            opinion = hook(error)
        except Exception:
            log.exception("a transient hook failed", hook=repr(hook))
            continue
        if opinion is None:
            continue
        if opinion is True:
            return decision if decision and decision.is_transient else NETWORK_TIMEOUT
        if opinion is False:
            is_worse = decision is not None and decision.action is Action.ABORT
            return decision if is_worse else REFUSED
        if math.isfinite(opinion) and opinion >= 0:
            return replace(UNAVAILABLE, retry_after=float(opinion))
        log.warning("a transient hook gave no number of seconds", hook=repr(hook), gave=opinion)
    return decision


def _as_told(decision: Decision, error: BaseException) -> Decision:
    if not decision.is_transient or decision.retry_after is not None:
        return decision
    seconds = retry_after(error)
    return decision if seconds is None else replace(decision, retry_after=seconds)


def _badness(decision: Decision) -> tuple[int, ...]:
    """Greater is worse: an abort first, then what no retry helps, then what may pass."""
    order = (FILE_NOT_FOUND, NETWORK_TIMEOUT, OUT_OF_MEMORY, PARSE_ERROR, SYSTEM_ERROR)
    rank = [row.name for row in order].index(decision.name)
    return rank, -decision.retries
