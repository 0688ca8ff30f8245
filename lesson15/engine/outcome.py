"""What one run does, counted as it does it: the receipt in the report."""

from __future__ import annotations

import time

from lesson15.engine.work import SourceDocument
from lesson15.events import DocSettled
from lesson15.logs import get_logger
from lesson15.models import BatchState, DocStatus, RunSummary

log = get_logger(__name__)


class Tally:
    """Counts the verdicts of one run.

    Args:
        state: the batch as the run finds it.

    Attributes:
        summary: the counts so far; ``unchanged`` and ``seconds`` are filled in by :meth:`close`.
    """

    def __init__(self, state: BatchState) -> None:
        self.summary = RunSummary()
        self._known = state.settled_docs
        self._redone = 0
        self._started = time.monotonic()

    def count(self, event: DocSettled, previous: DocSettled | None, *, is_unchanged: bool) -> None:
        """Count the verdict ``event``, which takes the place of ``previous``."""
        if is_unchanged:
            return
        self._redone += previous is not None
        summary = self.summary
        if event.status is DocStatus.FAILED:
            summary.failed += 1
        elif event.status is DocStatus.SKIPPED:
            summary.skipped += 1
        elif previous is not None and previous.status is DocStatus.DONE:
            summary.updated += 1
        else:
            summary.new += 1

    def keep(self, document: SourceDocument) -> DocSettled:
        """Count a document that could not be read; returns the verdict that stays in force."""
        assert document.previous is not None  # noqa: S101 - there is something to keep
        log.warning("document cannot be read and is kept as it is", path=document.path)
        self.summary.hidden += 1
        return document.previous

    def close(self, hidden: int, unsupported: dict[str, int]) -> RunSummary:
        """The counts at the end.

        Args:
            hidden: documents that could not be seen when the run began.
            unsupported: files that the scan passed over, by suffix.
        """
        summary = self.summary
        summary.hidden += hidden
        summary.unsupported = dict(sorted(unsupported.items()))
        left = self._known - self._redone - summary.dropped - summary.hidden
        summary.unchanged = max(0, left)
        self.stop()
        return summary

    def stop(self) -> None:
        """Set how long the run has taken up to now."""
        self.summary.seconds = round(time.monotonic() - self._started, 3)
