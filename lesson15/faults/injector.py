"""The injector decides, at each call of a fault point, which faults strike there.

A decision by rate is a pure function of the seed, the rule, the point, the document and the number
of the attempt. No generator is shared, so how the work is scheduled changes nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from lesson15.errors import FaultPlanError, StorageError
from lesson15.events import FaultInjected, now
from lesson15.faults.control import FaultControl
from lesson15.faults.plan import FaultPlan, FaultRule
from lesson15.faults.points import FaultKind, FaultPoint
from lesson15.logs import get_logger

log = get_logger(__name__)

_LOOK_SECONDS = 0.05
_PUBLISH_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that strikes: its rule, what it strikes, and a number from 0 to 1 of its own."""

    rule: FaultRule
    document: str
    draw: float

    @property
    def kind(self) -> FaultKind:
        """What happens."""
        return self.rule.kind


class FaultInjector:
    """Decides for one run of one batch; safe to call from any thread.

    Args:
        control: where the plan comes from and the counts go.
        announce: is told of each fault, on the thread that it strikes, before it does.
    """

    def __init__(self, control: FaultControl, announce: Callable[[FaultInjected], None]) -> None:
        self._control = control
        self._announce = announce
        self._lock = threading.Lock()
        self._publishing = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._next_look = 0.0
        self._adopt(FaultPlan())
        self._counts = Counter(control.fired)
        self._publisher: threading.Timer | None = None
        self._is_closed = False

    def _adopt(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._rules: dict[FaultPoint, list[tuple[int, FaultRule]]] = {}
        for number, rule in enumerate(plan.rules):
            self._rules.setdefault(rule.point, []).append((number, rule))
        self._calls: Counter[int] = Counter()
        self._strikes: Counter[int] = Counter()
        self._occurrences: Counter[tuple[FaultPoint, str]] = Counter()

    def _look(self) -> None:
        """Adopt the plan in the control file if that was replaced."""
        looked_at = time.monotonic()
        if looked_at < self._next_look:
            return
        with self._lock:
            self._next_look = looked_at + _LOOK_SECONDS
            try:
                status = os.stat(self._control.path)  # noqa: PTH116 - on the way of each document
                seen = (status.st_ino, status.st_mtime_ns)
            except OSError:
                seen = None
            if seen == self._seen:
                return
            self._seen = seen
            try:
                self._adopt(self._control.plan)
            except FaultPlanError as error:
                log.warning("fault plan not adopted", error=str(error))

    def decide(
        self, point: FaultPoint, document: str, attempt: int | None = None
    ) -> Sequence[Fault]:
        """The faults that strike at this call, in the order in which they are carried out.

        ``attempt`` is the number of the attempt at ``document``; without it calls are counted.
        """
        self._look()
        if point not in self._rules:
            return ()
        with self._lock:
            if attempt is None:
                self._occurrences[point, document] += 1
                attempt = self._occurrences[point, document]
            faults = [
                Fault(rule, document, _draw("part", self._plan.seed, number, document, attempt))
                for number, rule in self._rules.get(point, ())
                if rule.matches(document) and self._strikes_now(number, rule, document, attempt)
            ]
            self._counts.update(f"{point}:{fault.kind}" for fault in faults)
        for fault in faults:
            log.info("fault", point=point.value, kind=fault.kind.value, doc_id=document)
            self._announce(FaultInjected(point.value, fault.kind.value, document, now()))
        if faults:
            self._publish_soon()
        return faults

    def _strikes_now(self, number: int, rule: FaultRule, document: str, attempt: int) -> bool:
        self._calls[number] += 1
        if rule.nth is not None and self._calls[number] != rule.nth:
            return False
        if rule.times is not None and self._strikes[number] >= rule.times:
            return False
        if _draw("rate", self._plan.seed, number, rule.point, document, attempt) >= rule.rate:
            return False
        self._strikes[number] += 1
        return True

    def holds(self, fault: Fault) -> bool:
        """Whether ``fault`` goes on: a hang ends when its rule or the run does."""
        self._look()
        return not self._is_closed and fault.rule in self._plan.rules

    # --- counts ---------------------------------------------------------------------------------

    def _publish_soon(self) -> None:
        with self._lock:
            if self._publisher is None and not self._is_closed:
                self._publisher = threading.Timer(_PUBLISH_SECONDS, self.publish)
                self._publisher.daemon = True
                self._publisher.start()

    def publish(self) -> None:
        """Write the counts where :attr:`FaultControl.fired` reads them."""
        with self._publishing:
            with self._lock:
                self._publisher = None
                counts = dict(self._counts)
            try:
                self._control.record_fired(counts)
            except StorageError as error:  # the counts are information; the batch goes on
                log.warning("fault counts not written", error=str(error))

    def close(self) -> None:
        """End what hangs and write the counts."""
        self._is_closed = True
        if self._publisher is not None:
            self._publisher.cancel()
        if self._counts:
            self.publish()


def _draw(*parts: object) -> float:
    """A number from 0 up to 1 that depends on ``parts`` alone."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(text, digest_size=7).digest()) / 2**56
