"""Who watches a batch: listeners of events, and callbacks for results. None of them can stop it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lesson15.events import (
    AttemptFailed,
    DocRemoved,
    DocSettled,
    Event,
    FaultInjected,
    LimitChanged,
    PartsChanged,
    ServiceBack,
    ServiceLost,
)
from lesson15.logs import get_logger
from lesson15.models import DocStatus, ProcessingResult

T = TypeVar("T")
log = get_logger(__name__)
Listener = Callable[[Event], None]
ResultCallback = Callable[[ProcessingResult], None]

_TOLD_AT_ONCE = (
    DocSettled, DocRemoved, AttemptFailed, LimitChanged, FaultInjected, ServiceLost, ServiceBack,
    PartsChanged,
)  # fmt: skip


def call_each(callbacks: Sequence[Callable[[T], None]], value: T) -> None:
    """Call ``callbacks`` with ``value``; one that raises is logged, and called again next time."""
    for callback in tuple(callbacks):
        try:
            callback(value)
        except Exception:
            log.exception("a listener failed", listener=repr(callback), kind=type(value).__name__)


@dataclass(frozen=True, slots=True)
class Observers:
    """The listeners and result callbacks of one batch; both lists may change at any time."""

    batch_id: str
    listeners: list[Listener]
    result_callbacks: list[ResultCallback]

    def tell(self, event: Event) -> None:
        """Tell of ``event`` as it happens."""
        if self.listeners:
            call_each(self.listeners, event)
        if self.result_callbacks and isinstance(event, DocSettled):
            call_each(self.result_callbacks, self._result(event))

    def tell_durable(self, events: list[Event]) -> None:
        """Tell of events that count only now that they are committed."""
        if self.listeners:
            for event in events:
                if not isinstance(event, _TOLD_AT_ONCE):
                    call_each(self.listeners, event)

    def _result(self, event: DocSettled) -> ProcessingResult:
        return ProcessingResult(
            doc_id=event.doc_id,
            success=event.status is DocStatus.DONE,
            error_message=event.error,
            processing_time=event.seconds,
            timestamp=event.at,
            batch_id=self.batch_id,
            chunks=event.chunks,
            attempts=event.attempts,
            error_type=event.error_type,
            status=event.status,
        )
