"""The control panel: start, pause, resume, cancel and kill a batch while it runs."""

from __future__ import annotations

from typing import Any

import traitlets

from lesson15.errors import Lesson15Error
from lesson15.host.states import Command, State, offered
from lesson15.lab.session import BatchSession
from lesson15.widgets.base import SessionWidget, source, table_html


class ControlPanel(SessionWidget):
    """Buttons and progress of one batch.

    Example:
        >>> panel = ControlPanel(session)  # the last line of a cell shows it
    """

    _esm = source("control.js")
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, session: BatchSession) -> None:
        self._refusal = ""
        super().__init__(session, state=_state(session, ""))

    def receive(self, message: dict[str, Any]) -> None:
        """Do what a button says."""
        name = message["command"]
        self._refusal = ""
        if name not in _offered(self.session):  # the state changed while the click was under way
            self._refusal = f"It was too late to {name}: the batch is {self.session.status}."
        else:
            try:
                getattr(self.session, name)()
            except Lesson15Error as error:
                self._refusal = str(error)
        self.refresh()

    def refresh(self) -> None:
        """Send the state."""
        self.state = _state(self.session, self._refusal)

    def static_html(self) -> str:
        """The counts as a table."""
        state = self.state = _state(self.session, self._refusal)
        rows = [("status", state["status"]), *state["counts"].items(), ("total", state["total"])]
        return table_html(rows, f"Batch {state['batch_id']}")

    def static_text(self) -> str:
        """The counts in a line."""
        state = self.state
        counts = ", ".join(f"{number} {name}" for name, number in state["counts"].items() if number)
        return f"Batch {state['batch_id']}: {state['status']}; {counts or 'no documents'}"


def _offered(session: BatchSession) -> list[Command]:
    """A batch in a thread cannot be killed; one that was cut short may have failures unknown."""
    is_settled = session.status in (State.FINISHED, State.CANCELLED)
    has_failures = bool(session.view.count("failed") or session.view.count("skipped"))
    found = offered(session.status, has_failures=has_failures or not is_settled)
    return [name for name in found if name is not Command.KILL or session.mode == "process"]


def _state(session: BatchSession, refusal: str) -> dict[str, Any]:
    note = refusal or session.error or ""
    progress = session.progress if session.is_active else None
    if session.status is State.KILLED:
        note = (
            f"{session.error} {session.lost_docs} documents that were done are not "
            "in the checkpoint; Resume does them again."
        )
    return {
        "batch_id": session.batch_id,
        "status": session.status,
        "counts": session.view.counts(),
        "total": len(session.view),
        "rate": progress.rate if progress is not None else 0.0,
        "eta": progress.eta if progress is not None else None,
        "allowed": _offered(session),
        "note": note,
    }
