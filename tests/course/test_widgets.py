"""Widgets without a browser: what they send, what they do when told, and their static fallbacks."""

from __future__ import annotations

import importlib
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets
import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter

import lesson15.widgets
from lesson15.errors import MissingDependencyError
from lesson15.faults import FaultControl
from lesson15.lab import BatchSession
from lesson15.models import ProgressInfo
from lesson15.widgets import (
    CheckpointInspector,
    ControlPanel,
    DocumentGrid,
    FaultConsole,
    InstructorConsole,
    RatePlot,
    ReplayScrubber,
    WorkerTimeline,
    tqdm_progress,
)
from lesson15.widgets.base import Throttle
from lesson15.widgets.faults import SCENARIOS


@pytest.fixture
def session(docs: Path, state: Path) -> BatchSession:
    """On twelve documents, two of them bad; not begun."""
    return BatchSession(
        [docs], "b", state, mode="thread", embedder="hashing", retry_delay=0, checkpoint_interval=4
    )


def finish(session: BatchSession) -> BatchSession:
    session.start()
    session.wait()
    return session


def sent(widget: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """What ``widget`` sends from now on: content and buffers."""
    messages: list[tuple[Any, Any]] = []

    def send(content: Any, buffers: Any = None) -> None:
        messages.append((content, buffers))

    monkeypatch.setattr(widget, "send", send)
    return messages


# --- controls -------------------------------------------------------------------------------------


def test_control_panel_drives_the_batch(session: BatchSession) -> None:
    panel = ControlPanel(session)
    assert panel.state["allowed"] == ["start"]
    panel.receive({"command": "start"})
    session.wait()
    panel.refresh()
    assert panel.state["status"] == "finished"
    assert (panel.state["counts"]["done"], panel.state["total"]) == (10, 12)
    assert panel.state["allowed"] == ["resume", "retry_failed"]
    panel.receive({"command": "pause"})
    assert panel.state["note"] == "It was too late to pause: the batch is finished."
    panel.receive({"command": "retry_failed"})
    session.wait()
    assert session.status == "finished"


def test_control_panel_follows_by_itself(session: BatchSession) -> None:
    panel = ControlPanel(session)
    finish(session)
    deadline = time.monotonic() + 75
    while panel.state["status"] != "finished" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert panel.state["counts"]["done"] == 10
    panel.close()
    assert not session.on_change


def test_control_panel_tells_of_a_kill(docs: Path, state: Path) -> None:
    session = BatchSession([docs], "b", state, embedder="hashing")
    FaultConsole(session).levels = {"delay": 0.3}
    panel = ControlPanel(session)
    panel.receive({"command": "start"})
    session.wait_for(lambda: session.view.settled >= 2)
    panel.refresh()
    assert panel.state["allowed"] == ["pause", "cancel", "kill"]
    panel.receive({"command": "kill"})
    assert panel.state["status"] == "killed"
    assert "Resume does them again" in panel.state["note"]
    assert "resume" in panel.state["allowed"]


# --- pictures -------------------------------------------------------------------------------------


def test_grid_sends_only_what_changed(
    session: BatchSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = DocumentGrid(session)
    messages = sent(grid, monkeypatch)
    grid.receive({"t": "ready"})
    (content, (codes,)) = messages.pop()
    assert content == {"t": "all", "ids": session.view.doc_ids}
    assert codes == bytes(12)
    grid.refresh()
    assert messages == []
    finish(session)
    messages.clear()
    grid._sent = np.zeros(12, np.uint8)
    grid._sent[3] = session.view.codes[3]
    grid.refresh()
    content, (places, values) = messages.pop()
    assert content == {"t": "some"}
    assert np.frombuffer(places, np.uint32).tolist() == [n for n in range(12) if n != 3]
    assert values == bytes(session.view.codes[n] for n in range(12) if n != 3)


def test_grid_tells_more_of_a_cell(session: BatchSession, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = DocumentGrid(finish(session))
    messages = sent(grid, monkeypatch)
    place = next(n for n, doc_id in enumerate(session.view.doc_ids) if "empty" in doc_id)
    grid.receive({"t": "detail", "place": place})
    text = messages[0][0]["text"]
    assert re.search(r"empty.txt: failed; .*the file is empty", text)


def test_timeline_sends_each_bar_once(
    session: BatchSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeline = WorkerTimeline(session)
    finish(session)
    messages = sent(timeline, monkeypatch)
    timeline._last_end = 0.0
    timeline.refresh()
    timeline.refresh()
    first, second = (content for content, _ in messages)
    assert (len(first["spans"]), second["spans"]) == (12, [])
    assert all(0 <= start <= end for _, start, end, _ in first["spans"])
    timeline.receive({"t": "ready"})
    assert messages[-1][0]["all"]
    assert len(messages[-1][0]["spans"]) == 12


def test_rates_add_up(session: BatchSession) -> None:
    plot = RatePlot(finish(session))
    plot.refresh()
    assert sum(done for _, done, _ in plot.series) == 10
    assert sum(bad for _, _, bad in plot.series) == 2
    assert plot.errors == {"EmptyDocumentError": 1, "MalformedDocumentError": 1}


def test_inspector_shows_files_and_commit(session: BatchSession) -> None:
    inspector = CheckpointInspector(session)
    assert inspector.content["summary"] == "none yet"
    finish(session)
    inspector.receive({"refresh": True})
    files = {file["name"]: file for file in inspector.content["files"]}
    assert files["journal.log"]["bytes"] == files["journal.log"]["committed"] > 0
    assert {"checkpoint.json", "segment.bin", "index.faiss"} <= set(files)
    assert '"processed_docs": 10' in inspector.content["checkpoint"]
    assert inspector.content["records"][-1].startswith('{"t":"commit"')
    (Path(session.spec.state_dir) / "b/checkpoint.json").write_text("{")
    inspector.refresh()
    assert "damaged" in inspector.content["summary"]


def test_scrubber_goes_back_and_forth(session: BatchSession, state: Path) -> None:
    finish(session)
    scrubber = ReplayScrubber(state, "b")
    assert set(scrubber.codes) == {0}
    scrubber.event = scrubber.length
    assert sorted(scrubber.codes) == [2] * 10 + [3] * 2
    assert "finished" in scrubber.text
    scrubber.event = 2
    assert sorted(scrubber.codes)[:-1] == [0] * 11


# --- faults ---------------------------------------------------------------------------------------


def test_sliders_set_the_plan(session: BatchSession, state: Path) -> None:
    console = FaultConsole(session)
    control = FaultControl(state, "b")
    console.levels = {"parse_error": 0.25, "delay": 0.4, "out_of_memory": 0.0}
    rules = {rule.kind.value: rule for rule in control.plan.rules}
    assert set(rules) == {"parse_error", "delay"}
    assert (rules["parse_error"].rate, rules["delay"].seconds) == (0.25, 0.4)
    assert FaultConsole(session).levels == {"parse_error": 0.25, "delay": 0.4}  # after a restart
    console.receive({"clear": True})
    assert control.plan.rules == ()
    assert console.levels == {}


def test_faults_strike_and_are_counted(session: BatchSession) -> None:
    console = FaultConsole(session)
    console.levels = {"file_not_found": 1.0}
    finish(session)
    assert session.view.count("skipped") == 12
    console.refresh()
    assert console.fired == {"file_not_found": 12}


def test_scenario_runs_through_its_steps(
    session: BatchSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = FaultConsole(session)
    plans: list[list[str]] = []
    monkeypatch.setattr(threading.Event, "wait", lambda self, _seconds=None: self.is_set())

    def note(_change: Any) -> None:
        plans.append([rule.kind.value for rule in console.control.plan.rules])

    console.observe(note, "note")
    console._play(SCENARIOS["A poisoned delivery"], threading.Event())
    assert [rule.kind.value for rule in console.control.plan.rules] == []
    assert len(plans) == 3
    stopped = threading.Event()
    stopped.set()
    console.note = ""
    console._play(SCENARIOS["A poisoned delivery"], stopped)
    assert console.note == ""


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("The disk is full at the next checkpoint", "aborted"),
        ("Power cut in the middle of a write", "killed"),
    ],
)
def test_scenarios_that_end_the_run(docs: Path, state: Path, name: str, status: str) -> None:
    session = BatchSession([docs], "b", state, embedder="hashing", retry_delay=0)
    console = FaultConsole(session)
    console.play(name).join(10)
    session.start()
    session.wait()
    assert session.status == status
    console.refresh()
    assert console.control.plan.rules == ()  # it struck once: the way is free
    session.resume()
    session.wait()
    assert session.view.count("done") == 10
    assert session.verify().is_clean


def test_kills_are_not_for_threads(session: BatchSession) -> None:
    console = FaultConsole(session)
    assert "Power cut in the middle of a write" not in console.scenarios


# --- static fallbacks -----------------------------------------------------------------------------


@pytest.fixture
def widgets(session: BatchSession, state: Path) -> dict[str, Any]:
    finish(session)
    return {
        "ControlPanel": ControlPanel(session),
        "DocumentGrid": DocumentGrid(session),
        "WorkerTimeline": WorkerTimeline(session),
        "RatePlot": RatePlot(session),
        "FaultConsole": FaultConsole(session),
        "CheckpointInspector": CheckpointInspector(session),
        "ReplayScrubber": ReplayScrubber(state, "b"),
        "InstructorConsole": InstructorConsole(session),
    }


def bundle(widget: Any) -> dict[str, Any]:
    data = widget._repr_mimebundle_()
    return data[0] if isinstance(data, tuple) else data


def test_every_widget_has_a_static_fallback(widgets: dict[str, Any]) -> None:
    assert set(widgets) == set(lesson15.widgets.__all__) - {"tqdm_progress"}
    for name, widget in widgets.items():
        data = bundle(widget)
        assert "application/vnd.jupyter.widget-view+json" in data
        assert "<script" not in data["text/html"]
        assert re.search("<table|<img", data["text/html"]), name
        assert len(data["text/plain"]) > 10
    assert "10 done" in bundle(widgets["ControlPanel"])["text/plain"]
    assert "EmptyDocumentError 1" in bundle(widgets["RatePlot"])["text/plain"]


def test_nbconvert_shows_the_fallback(widgets: dict[str, Any]) -> None:
    """Without the state of the widgets in the notebook, as on GitHub, the HTML is what is seen."""
    notebook = nbformat.v4.new_notebook()
    for widget in widgets.values():
        output = nbformat.v4.new_output("display_data", bundle(widget))
        notebook.cells.append(nbformat.v4.new_code_cell("", outputs=[output]))
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert page.count("data:image/png;base64") >= 6  # grid, timeline and rates, twice each
    assert "<td>done</td><td>10</td>" in page
    assert "application/vnd.jupyter.widget-view+json" not in page


# --- the rest -------------------------------------------------------------------------------------


def test_throttle_never_loses_the_last_call() -> None:
    times: list[float] = []
    done = threading.Event()
    last_seen = -1
    value = -1

    def func() -> None:
        nonlocal last_seen
        times.append(time.monotonic())
        last_seen = value
        if value == 99:
            done.set()

    throttle = Throttle(func, 0.05)
    begun = time.monotonic()
    for value in range(100):  # noqa: B007 - func reads it
        throttle()
        time.sleep(0.002)
    assert done.wait(60)
    assert last_seen == 99
    assert len(times) <= (times[-1] - begun) / 0.05 + 1  # a late run delays no other


def test_tqdm_follows_and_closes(capsys: pytest.CaptureFixture[str]) -> None:
    show = tqdm_progress(ascii=True)
    for settled in (1, 2, 3):
        show(ProgressInfo("b", 100 * settled / 3, settled - 1, 1, 3, None, time.time()))
    assert re.search(r"b: 100%.*3/3.*failed=1", capsys.readouterr().err)


def test_widgets_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[str], Any] = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "anywidget" else real(name)
    )
    with pytest.raises(MissingDependencyError, match=r"lesson15\.widgets needs .*'anywidget'"):
        importlib.reload(lesson15.widgets)
    monkeypatch.undo()
    importlib.reload(lesson15.widgets)
    assert issubclass(InstructorConsole, ipywidgets.VBox)
