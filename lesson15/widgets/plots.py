"""The worker timeline, and the plot of throughput and errors."""

from __future__ import annotations

from typing import Any

import traitlets

from lesson15.lab.session import BatchSession
from lesson15.lab.view import CODE, Span
from lesson15.widgets.base import STATE_COLORS, SessionWidget, picture_html, source


class WorkerTimeline(SessionWidget):
    """What each slot of the engine works on, and for how long: one bar for each document."""

    _esm = source("timeline.js")
    pace = 0.2

    def __init__(self, session: BatchSession) -> None:
        self._last_end = 0.0
        self._origin: float | None = None
        super().__init__(session)

    def refresh(self) -> None:
        """Send the bars that ended since the last time, and those that are open."""
        self._send_bars(is_all=False)

    def receive(self, message: dict[str, Any]) -> None:  # noqa: ARG002 - there is but one
        """A view is ready for all bars."""
        self._send_bars(is_all=True)

    def _send_bars(self, *, is_all: bool) -> None:
        view = self.session.view
        with view.lock:
            spans, open_spans = list(view.spans), view.in_work()
        starts = [span.start for span in spans[:1]] + [start for _, start, _ in open_spans]
        if self._origin is None and starts:
            self._origin = min(starts)
        since = 0.0 if is_all else self._last_end
        fresh = [span for span in spans if span.end > since]
        if spans:
            self._last_end = spans[-1].end
        self.send({
            "all": is_all,
            "spans": [self._bar(span) for span in fresh],
            "open": [[worker, self._at(start)] for worker, start, _ in open_spans],
            "now": self._at(max([self._last_end, *(start for _, start, _ in open_spans)])),
        })  # fmt: skip

    def _at(self, time: float) -> float:
        return round(time - self._origin, 3) if self._origin else 0.0

    def _bar(self, span: Span) -> list[float]:
        return [span.worker, self._at(span.start), self._at(span.end), CODE[span.status]]

    def static_html(self) -> str:
        """The timeline as a picture."""
        from matplotlib.figure import Figure

        with self.session.view.lock:
            spans = list(self.session.view.spans)
        origin = min((span.start for span in spans), default=0.0)
        lanes = 1 + max((span.worker for span in spans), default=0)
        figure = Figure(figsize=(8, 0.6 + 0.25 * lanes))
        axes = figure.add_subplot()
        for span in spans:
            axes.barh(
                span.worker + 1, span.end - span.start, left=span.start - origin, height=0.8,
                color=STATE_COLORS[CODE[span.status]], edgecolor="white", linewidth=0.3,
            )  # fmt: skip
        axes.set(xlabel="seconds", ylabel="worker", yticks=range(1, lanes + 1))
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        return picture_html(figure, self.static_text())

    def static_text(self) -> str:
        """How many bars there are."""
        return f"Worker timeline: {len(self.session.view.spans)} documents"


class RatePlot(SessionWidget):
    """Documents done and failed in each second, and the errors by type."""

    _esm = source("rates.js")
    pace = 0.5
    series: Any = traitlets.List().tag(sync=True)
    errors = traitlets.Dict().tag(sync=True)

    def refresh(self) -> None:
        """Send the last minute."""
        view = self.session.view
        with view.lock:
            seconds = [list(entry) for entry in view.seconds]
            errors = dict(view.errors)
        origin = seconds[0][0] if seconds else 0
        self.series = [[second - origin, done, bad] for second, done, bad in seconds[-60:]]
        self.errors = errors

    def static_html(self) -> str:
        """The plot as a picture."""
        from matplotlib.figure import Figure

        self.refresh()
        figure = Figure(figsize=(8, 2.2))
        axes = figure.add_subplot()
        seconds = [second for second, _, _ in self.series]
        done = [done for _, done, _ in self.series]
        axes.bar(seconds, done, color=STATE_COLORS[2], label="done")
        failed = [bad for _, _, bad in self.series]
        axes.bar(seconds, failed, bottom=done, color=STATE_COLORS[3], label="failed")
        axes.set(xlabel="seconds", ylabel="documents a second")
        axes.set_xlim(-0.6, max(10, *seconds, 0) + 0.6)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        return picture_html(figure, self.static_text())

    def static_text(self) -> str:
        """The errors by type."""
        errors = ", ".join(f"{name} {count}" for name, count in self.session.view.errors.items())
        return f"Errors: {errors or 'none'}"
