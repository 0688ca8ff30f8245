"""How far a batch is, how fast it goes, and when it will be done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta

from lesson15.logs import get_logger
from lesson15.models import ProgressInfo

ProgressCallback = Callable[[ProgressInfo], None]
log = get_logger(__name__)

_WINDOW_SECONDS = 30.0
_SAMPLE_SECONDS = 0.25
_LEAST_SECONDS = 1.0  # a rate over less than that is chance


class ProgressTracker:
    """Counts documents and estimates the rest from the recent rate.

    Args:
        total_items: documents in the batch, 0 if that is not known yet; may be corrected while it
            runs.
        batch_id: for the callbacks.
        clock: seconds, monotonic; for tests.

    ``callbacks`` is a list of functions that get a :class:`ProgressInfo` after each update. One
    that raises is logged and left out from then on: watching a batch must not stop it.
    """

    def __init__(
        self, total_items: int, batch_id: str, clock: Callable[[], float] | None = None
    ) -> None:
        self.total_items = total_items
        self.batch_id = batch_id
        self.completed_items = 0
        self.failed_items = 0
        self.start_time = time.time()
        self.callbacks: list[ProgressCallback] = []
        self._clock = clock or time.monotonic
        self._samples: deque[tuple[float, int]] = deque([(self._clock(), 0)])
        self._baseline = 0

    def start_from(self, completed: int, failed: int) -> None:
        """Count documents settled in an earlier run, without taking them for speed."""
        self.completed_items, self.failed_items = completed, failed
        self._baseline = completed + failed
        self._samples = deque([(self._clock(), 0)])

    async def update_progress(self, success: bool = True, doc_id: str | None = None) -> None:  # noqa: ARG002 - a part of the contract that subclasses may use
        """Count one document and tell the callbacks."""
        if success:
            self.completed_items += 1
        else:
            self.failed_items += 1
        now = self._clock()
        if now - self._samples[-1][0] >= _SAMPLE_SECONDS:
            self._samples.append((now, self._worked))
            while len(self._samples) > 2 and now - self._samples[1][0] >= _WINDOW_SECONDS:
                self._samples.popleft()
        if self.callbacks:
            self._tell()

    def _tell(self) -> None:
        info = self.info()
        for callback in list(self.callbacks):
            try:
                callback(info)
            except Exception:
                log.exception("progress callback failed and was removed", batch_id=self.batch_id)
                self.callbacks.remove(callback)

    @property
    def _worked(self) -> int:
        return self.completed_items + self.failed_items - self._baseline

    @property
    def rate(self) -> float:
        """Documents a second over the last half minute; 0 in the first second, and before the first
        document.
        """
        then, count = self._samples[0]
        elapsed = self._clock() - then
        return (self._worked - count) / elapsed if elapsed >= _LEAST_SECONDS else 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Estimated seconds left; 0 when done, None while there is no rate or total to go by."""
        if not self.total_items:
            return None
        left = max(0, self.total_items - self.completed_items - self.failed_items)
        if not left:
            return 0.0
        rate = self.rate
        return left / rate if rate > 0 else None

    def get_eta(self) -> str:
        """The estimated time left as text, such as "1:05:00" or "0:00:42"; "unknown" at first."""
        seconds = self.eta_seconds
        return "unknown" if seconds is None else str(timedelta(seconds=round(seconds)))

    def info(self) -> ProgressInfo:
        """The present reading."""
        settled = self.completed_items + self.failed_items
        percent = 100.0 * settled / self.total_items if self.total_items else 0.0
        return ProgressInfo(
            batch_id=self.batch_id,
            progress_percent=min(100.0, percent),
            completed=self.completed_items,
            failed=self.failed_items,
            total=self.total_items,
            eta=self.eta_seconds,
            updated_at=time.time(),
            rate=self.rate,
        )
