"""What a fault does: wait, end the process, or raise what a real one would raise."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence

from lesson15.errors import (
    DocumentNotFoundError,
    InvalidAnswerError,
    InvalidResultError,
    NetworkTimeoutError,
    OutOfMemoryError,
    RateLimited,
    ServiceUnavailable,
    StorageError,
)
from lesson15.faults.clock import JumpingClock
from lesson15.faults.injector import Fault, FaultInjector
from lesson15.faults.points import FaultKind, FaultPoint

_HANG_STEP_SECONDS = 0.05
_ERRNO = {
    FaultKind.SYSTEM_ERROR: errno.EIO,
    FaultKind.TORN_WRITE: errno.EIO,
    FaultKind.DISK_FULL: errno.ENOSPC,
}
_FILE_POINTS = {
    FaultPoint.INDEX,
    FaultPoint.CHECKPOINT_WRITE,
    FaultPoint.FSYNC,
    FaultPoint.RENAME,
}


_OF_A_CALL = {FaultKind.RATE_LIMITED, FaultKind.UNAVAILABLE, FaultKind.PARTIAL_ANSWER}
"""What strikes a call of the embedder, in its thread, and is over when it is made again later."""


class Effects:
    """Carries out the faults that an injector decides on.

    ``before_death`` are called before an injected kill: what an fsync had lied about is lost then.
    """

    def __init__(self, injector: FaultInjector) -> None:
        self._injector = injector
        self.before_death: list[Callable[[], None]] = []
        self.clock = JumpingClock()
        self._ends: dict[Fault, float] = {}

    def carry_out(self, faults: Sequence[Fault]) -> None:
        """Wait on this thread, then kill or raise, as ``faults`` say."""
        for seconds in self._waits(faults):
            time.sleep(seconds)
        self._strike(faults)

    async def carry_out_async(self, faults: Sequence[Fault]) -> None:
        """As :meth:`carry_out`, without keeping the event loop."""
        for seconds in self._waits(faults):
            await asyncio.sleep(seconds)
        self._strike(faults)

    def _waits(self, faults: Sequence[Fault]) -> Iterator[float]:
        for fault in faults:
            if fault.kind is FaultKind.DELAY:
                yield fault.rule.seconds
            if fault.kind is FaultKind.SLOW_NETWORK:
                yield fault.rule.seconds * (0.5 + fault.draw)
            while fault.kind is FaultKind.HANG and self._injector.holds(fault):
                yield _HANG_STEP_SECONDS

    def _strike(self, faults: Sequence[Fault]) -> None:
        if any(fault.kind is FaultKind.KILL for fault in faults):
            self._injector.publish()
            for prepare in self.before_death:
                prepare()
            os.kill(os.getpid(), signal.SIGKILL)
        for fault in faults:
            if fault.kind is FaultKind.CLOCK_JUMP:
                self.clock.jump(fault.rule.seconds)
            error = exception_of(fault) or self._error_of_call(fault)
            if error is not None:
                raise error

    def _error_of_call(self, fault: Fault) -> Exception | None:
        """What the service does to a call that ``fault`` strikes, None once that is over."""
        if fault.kind not in _OF_A_CALL or not self._injector.holds(fault):
            return None
        now, why = time.monotonic(), f"injected fault at {fault.rule.point.value}"
        is_first = fault not in self._ends
        ends = self._ends.setdefault(fault, now + fault.rule.seconds)
        if fault.kind is FaultKind.PARTIAL_ANSWER:
            detail = f"a part of the answer only ({why})"
            return InvalidAnswerError(embedder="of this batch", detail=detail) if is_first else None
        if now >= ends and not is_first:
            return None
        if fault.kind is FaultKind.RATE_LIMITED:
            return RateLimited(max(ends - now, 0.001), f"The service wants fewer requests ({why}).")
        return ServiceUnavailable(f"The service is away ({why}).")


def exception_of(fault: Fault) -> Exception | None:
    """What ``fault`` makes its step raise whenever it strikes, None if it is of another kind."""
    kind, point, document = fault.kind, fault.rule.point, fault.document
    why = f"injected fault at {point.value}"
    if kind in _ERRNO and point in _FILE_POINTS:
        number = _ERRNO[kind]
        return OSError(number, f"{os.strerror(number)} ({why}: {kind.value})", document)
    if kind is FaultKind.SYSTEM_ERROR:
        return StorageError(path=document, detail=why)
    if kind is FaultKind.NETWORK_TIMEOUT:
        operation = f"{document}: {point.value} (injected fault)"
        return NetworkTimeoutError(operation=operation, seconds=fault.rule.seconds)
    if kind is FaultKind.FILE_NOT_FOUND:
        return DocumentNotFoundError(path=document)
    if kind is FaultKind.OUT_OF_MEMORY:
        return OutOfMemoryError(path=document, detail=why)
    if kind is FaultKind.PARSE_ERROR:
        return InvalidResultError(path=document, detail=why)
    if kind is FaultKind.RATE_LIMITED and point is not FaultPoint.EMBED:
        return RateLimited(fault.rule.seconds, f"The service wants fewer requests ({why}).")
    if kind is FaultKind.UNAVAILABLE and point is not FaultPoint.EMBED:
        return ServiceUnavailable(f"The service is away ({why}).")
    return None
