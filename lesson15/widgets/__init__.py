"""Widgets for notebooks: watch a batch, drive it, break it, look inside and play it back.

They need the extra ``course`` (ipywidgets and anywidget); nothing in the engine imports them.
"""

from __future__ import annotations

from importlib.util import find_spec

from lesson15.errors import MissingDependencyError

for _package in ("ipywidgets", "anywidget", "matplotlib"):
    if find_spec(_package) is None:
        raise MissingDependencyError(feature="lesson15.widgets", package=_package)

from lesson15.widgets.console import InstructorConsole  # noqa: E402 - after the check
from lesson15.widgets.control import ControlPanel  # noqa: E402
from lesson15.widgets.faults import FaultConsole  # noqa: E402
from lesson15.widgets.grid import DocumentGrid  # noqa: E402
from lesson15.widgets.inspector import CheckpointInspector  # noqa: E402
from lesson15.widgets.plots import RatePlot, WorkerTimeline  # noqa: E402
from lesson15.widgets.replay import ReplayScrubber  # noqa: E402
from lesson15.widgets.tqdm_bar import tqdm_progress  # noqa: E402

__all__ = [
    "CheckpointInspector",
    "ControlPanel",
    "DocumentGrid",
    "FaultConsole",
    "InstructorConsole",
    "RatePlot",
    "ReplayScrubber",
    "WorkerTimeline",
    "tqdm_progress",
]
