"""The replay scrubber: the whole life of a batch, event by event, forwards and back."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import traitlets

from lesson15.events import DocSettled, Event
from lesson15.lab.view import CODE
from lesson15.replay import Recording
from lesson15.widgets.base import LabWidget, source, table_html


class ReplayScrubber(LabWidget):
    """A slider over the recorded events of a batch, and its documents at that moment.

    Example:
        >>> scrubber = ReplayScrubber("checkpoints", "monday")
        >>> scrubber.event = 10  # what moving the slider does
    """

    _esm = source("scrubber.js")
    length = traitlets.Int().tag(sync=True)
    event = traitlets.Int().tag(sync=True)
    codes = traitlets.Bytes().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)

    def __init__(self, state_dir: Path | str, batch_id: str) -> None:
        self.recording = Recording(state_dir, batch_id)
        length = len(self.recording)
        self._doc_ids = list(self.recording.documents(length))
        super().__init__(length=length)
        self._show()
        self.observe(lambda _change: self._show(), "event")

    def _show(self) -> None:
        """Bring the cells and the text to :attr:`event`."""
        documents = self.recording.documents(self.event)
        self.codes = bytes(
            CODE[documents[doc_id]] if doc_id in documents else 0 for doc_id in self._doc_ids
        )
        last = next(iter(self.recording.events(max(0, self.event - 1), self.event)), None)
        state = self.recording.seek(self.event)
        what = "before the first event" if last is None else _words(last)
        self.text = f"{what} ({state.status.value}, {state.settled_docs} settled)"

    def static_html(self) -> str:
        """Where the replay stands, as a table."""
        state = self.recording.seek(self.event)
        rows = [
            ("event", f"{self.event} of {self.length}"),
            ("what happened", self.text),
            ("done", state.processed_docs),
            ("failed", state.failed_docs),
            ("skipped", state.skipped_docs),
        ]
        return table_html(rows, "Replay")

    def static_text(self) -> str:
        """Where the replay stands, in a line."""
        return f"Replay: event {self.event} of {self.length}: {self.text}"


def _words(event: Event) -> str:
    if isinstance(event, DocSettled):
        return f"{event.doc_id}: {event.status}"
    rest = {field.name: getattr(event, field.name) for field in fields(event)}
    words = [f"{name}={value}" for name, value in rest.items() if name != "at" and value]
    return " ".join([event.kind, *words])
