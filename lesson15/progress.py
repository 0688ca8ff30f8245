"""How far a batch is, how fast it goes, and when it will be done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from lesson15.logs import get_logger
from lesson15.models import ProgressInfo

ProgressCallback = Callable[[ProgressInfo], None]
log = get_logger(__name__)

_WINDOW_SECONDS = 30.0
_SAMPLE_SECONDS = 0.25


class ProgressTracker:
    """Counts documents and estimates the rest from the recent rate.

    Args:
        total_items: documents in the batch; may be corrected while it runs.
        batch_id: for the callbacks.
        clock: seconds, monotonic; for tests.

    ``callbacks`` is a list of functions that get a :class:`ProgressInfo` after each update. One
    that raises is logged and left out from then on: watching a batch must not stop it.
    """

    def __init__(
        self, total_items: int, batch_id: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total_items = total_items
        self.batch_id = batch_id
        self.completed = 0
        self.failed = 0
        self.callbacks: list[ProgressCallback] = []
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._baseline = 0

    def start_from(self, completed: int, failed: int) -> None:
        """Count documents settled in an earlier run, without taking them for speed."""
        self.completed, self.failed = completed, failed
        self._baseline = completed + failed
        self._samples = deque([(self._clock(), 0)])

    def update_progress(self, success: bool, doc_id: str) -> None:  # noqa: ARG002, FBT001, RUF100 - the contract's signature
        """Count one document and tell the callbacks."""
        if success:
            self.completed += 1
        else:
            self.failed += 1
        now = self._clock()
        if now - self._samples[-1][0] >= _SAMPLE_SECONDS:
            self._samples.append((now, self._worked))
            while now - self._samples[0][0] > _WINDOW_SECONDS:
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
        return self.completed + self.failed - self._baseline

    @property
    def rate(self) -> float:
        """Documents a second over the last half minute; 0 before the first document."""
        then, count = self._samples[0]
        elapsed = self._clock() - then
        return (self._worked - count) / elapsed if elapsed > 0 else 0.0

    def get_eta(self) -> float | None:
        """Estimated seconds left; 0 when done, None while there is no rate to go by."""
        left = max(0, self.total_items - self.completed - self.failed)
        if not left:
            return 0.0
        rate = self.rate
        return left / rate if rate > 0 else None

    def info(self) -> ProgressInfo:
        """The present reading."""
        settled = self.completed + self.failed
        percent = 100.0 * settled / self.total_items if self.total_items else 0.0
        return ProgressInfo(
            batch_id=self.batch_id,
            progress_percent=min(100.0, percent),
            completed=self.completed,
            failed=self.failed,
            total=self.total_items,
            eta=self.get_eta(),
            updated_at=time.time(),
            rate=self.rate,
        )
