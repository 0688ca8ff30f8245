"""The document grid: one cell for each document, coloured by its state, live."""

from __future__ import annotations

from typing import Any

import numpy as np

from lesson15.lab.session import BatchSession
from lesson15.lab.view import CODE
from lesson15.models import DocStatus
from lesson15.widgets.base import STATE_COLORS, SessionWidget, picture_html, source


class DocumentGrid(SessionWidget):
    """The documents of a batch as a field of cells; 10,000 of them follow at 10 Hz.

    Only cells that changed are sent, as binary buffers: places (uint32) and states (uint8).
    """

    _esm = source("grid.js")

    def __init__(self, session: BatchSession) -> None:
        self._sent = np.zeros(0, np.uint8)
        super().__init__(session)

    def _codes(self) -> np.ndarray:
        with self.session.view.lock:
            return np.frombuffer(bytes(self.session.view.codes), np.uint8)

    def refresh(self) -> None:
        """Send the cells that changed since the last time."""
        codes = self._codes()
        if len(codes) != len(self._sent):
            self._send_all(codes)
            return
        places = np.flatnonzero(codes != self._sent).astype(np.uint32)
        if len(places):
            self._sent = codes
            self.send({"t": "some"}, [places.tobytes(), codes[places].tobytes()])

    def _send_all(self, codes: np.ndarray) -> None:
        self._sent = codes
        self.send({"t": "all", "ids": self.session.view.doc_ids}, [codes.tobytes()])

    def receive(self, message: dict[str, Any]) -> None:
        """A view is ready for all cells, or wants to know more of one."""
        if message["t"] == "ready":
            self._send_all(self._codes())
        else:
            self.send({"t": "detail", "text": self.detail(int(message["place"]))})

    def detail(self, place: int) -> str:
        """All that is known of the document at ``place``, in one line."""
        view = self.session.view
        doc_id = view.doc_ids[place]
        parts = [f"{doc_id}: {view.status(doc_id)}"]
        if (verdict := view.details.get(doc_id)) is not None:
            parts.append(f"{verdict.seconds:.3f} s, {verdict.chunks} chunks")
            if verdict.attempts > 1:
                parts.append(f"{verdict.attempts} attempts")
            if verdict.error is not None:
                parts.append(verdict.error)
        return "; ".join(parts)

    def static_html(self) -> str:
        """The grid as a picture."""
        from matplotlib.colors import ListedColormap
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch

        codes = self._codes()
        columns = max(1, min(max(40, int(np.sqrt(len(codes)) * 1.6)), len(codes)))
        field = np.full((max(1, -(-len(codes) // columns)), columns), np.nan)
        field.flat[: len(codes)] = codes
        figure = Figure(figsize=(8, max(0.6, 8 * field.shape[0] / columns)))
        axes = figure.add_subplot()
        axes.pcolormesh(
            field, cmap=ListedColormap(STATE_COLORS), vmin=0, vmax=5,
            edgecolors="white", linewidth=1.0 if len(codes) < 2000 else 0.2,
        )  # fmt: skip
        axes.invert_yaxis()
        axes.set_axis_off()
        counts = self.session.view.counts()
        axes.legend(
            handles=[
                Patch(color=STATE_COLORS[CODE[DocStatus(name)]], label=f"{name} {number}")
                for name, number in counts.items() if number
            ],
            loc="upper left", bbox_to_anchor=(0, 0), ncols=6, frameon=False,
        )  # fmt: skip
        return picture_html(figure, self.static_text())

    def static_text(self) -> str:
        """The counts in a line."""
        counts = self.session.view.counts()
        return "Documents: " + ", ".join(f"{n} {name}" for name, n in counts.items() if n)
