"""What every widget shares: its sources, its static fallback, and the pace of its updates."""

from __future__ import annotations

import base64
import html
import io
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget

from lesson15.lab.session import BatchSession
from lesson15.logs import get_logger

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STATIC = Path(__file__).parent / "static"
log = get_logger(__name__)

STATE_COLORS = ("#d3d7dc", "#3584e4", "#1f9d74", "#d9480f", "#e5a50a", "#9aa0a6")
"""Colours of the static pictures, in the order of ``DocStatus``."""


def source(name: str) -> str:
    """The JavaScript module of a widget, what is common put before it."""
    parts = (_STATIC / "common.js", _STATIC / name)
    return "\n".join(path.read_text(encoding="utf-8") for path in parts)


STYLE = (_STATIC / "lesson15.css").read_text(encoding="utf-8")


class Throttle:
    """Calls ``func`` after a call of itself, but no more often than every ``seconds``.

    The last call always gets through: after it, ``func`` is sure to run once more.
    """

    def __init__(self, func: Callable[[], None], seconds: float = 0.1) -> None:
        self._func = func
        self._seconds = seconds
        self._is_due = False
        self._due = 0.0
        self._lock = threading.Lock()
        self._running = threading.Lock()

    def __call__(self) -> None:
        """Ask for a run."""
        with self._lock:
            if self._is_due:
                return
            self._is_due = True
            now = time.monotonic()
            self._due = max(now, self._due + self._seconds)  # a late run delays no other
        timer = threading.Timer(self._due - now, self._run)
        timer.daemon = True
        timer.start()

    def _run(self) -> None:
        with self._running:
            with self._lock:
                self._is_due = False
            try:
                self._func()
            except Exception:
                log.exception("a widget could not be brought up to date")


class LabWidget(anywidget.AnyWidget):
    """A widget with a static fallback, for nbconvert, GitHub and everything without a kernel."""

    _css = STYLE

    def static_html(self) -> str:
        """This widget as it stands now, as HTML that needs no script."""
        raise NotImplementedError

    def static_text(self) -> str:
        """This widget as it stands now, in one line."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None:
            return None
        data, metadata = bundle
        data = {**data, "text/html": self.static_html(), "text/plain": self.static_text()}
        return data, metadata


class SessionWidget(LabWidget):
    """A widget on a session; :meth:`refresh` runs after changes, at most every ``pace`` seconds."""

    pace = 0.1

    def __init__(self, session: BatchSession, **traits: Any) -> None:
        self.session = session
        super().__init__(**traits)
        self.on_msg(lambda _widget, message, _buffers: self.receive(message))
        self._throttle = Throttle(self.refresh, self.pace)
        session.on_change.append(self._throttle)

    def refresh(self) -> None:
        """Send what has changed."""
        raise NotImplementedError

    def receive(self, message: dict[str, Any]) -> None:
        """Take a message of the widget's JavaScript."""

    def close(self) -> None:
        """Take the widget away."""
        if self._throttle in self.session.on_change:
            self.session.on_change.remove(self._throttle)
        super().close()


def table_html(rows: Sequence[tuple[str, object]], title: str) -> str:
    """A small table with a title."""
    cells = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>"
        for name, value in rows
    )
    return f"<p><b>{html.escape(title)}</b></p><table>{cells}</table>"


def picture_html(figure: Figure, text: str) -> str:
    """``figure`` as an image that is part of the HTML."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80, bbox_inches="tight")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(text)}" src="data:image/png;base64,{data}">'
