"""The instructor console: every widget of a batch, one under the other."""

from __future__ import annotations

import ipywidgets

from lesson15.lab.session import BatchSession
from lesson15.widgets.control import ControlPanel
from lesson15.widgets.faults import FaultConsole
from lesson15.widgets.grid import DocumentGrid
from lesson15.widgets.inspector import CheckpointInspector
from lesson15.widgets.plots import RatePlot, WorkerTimeline


class InstructorConsole(ipywidgets.VBox):  # type: ignore[misc]
    """Controls, documents, faults, workers, throughput and checkpoint of one batch.

    The parts are attributes, for scripts: ``console.faults.play("A poisoned delivery")``.
    """

    def __init__(self, session: BatchSession) -> None:
        self.session = session
        self.control = ControlPanel(session)
        self.grid = DocumentGrid(session)
        self.faults = FaultConsole(session)
        self.rates = RatePlot(session)
        self.timeline = WorkerTimeline(session)
        self.inspector = CheckpointInspector(session)
        self.parts = (
            self.control, self.grid, self.faults, self.rates, self.timeline, self.inspector,
        )  # fmt: skip
        super().__init__(self.parts)

    def close(self) -> None:
        """Take all the parts away."""
        for part in self.parts:
            part.close()
        super().close()

    def _repr_mimebundle_(self, **options: object) -> dict[str, object]:
        data: dict[str, object] = super()._repr_mimebundle_(**options)
        return {
            **data,
            "text/html": "".join(part.static_html() for part in self.parts),
            "text/plain": "\n".join(part.static_text() for part in self.parts),
        }
