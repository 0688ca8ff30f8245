"""The fault console: sliders that make a running batch fail, and scripted scenarios."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import traitlets

from lesson15.faults import FaultControl, FaultKind, FaultPlan, FaultPoint, FaultRule
from lesson15.host.states import State
from lesson15.lab.session import BatchSession
from lesson15.widgets.base import SessionWidget, source, table_html


@dataclass(frozen=True, slots=True)
class Dial:
    """One slider: a fault, and what its level means: a share of the documents, or seconds."""

    name: str
    label: str
    point: FaultPoint
    kind: FaultKind
    unit: str = "%"
    maximum: float = 1.0
    step: float = 0.05

    def text(self, level: float) -> str:
        """The level as the console shows it."""
        return f"{level:.2f} s" if self.unit == "s" else f"{level:.0%}"

    def rule(self, level: float) -> FaultRule:
        """The rule for the slider at ``level``."""
        if self.unit == "s":
            return FaultRule(point=self.point, kind=self.kind, seconds=level)
        return FaultRule(point=self.point, kind=self.kind, rate=level)


DIALS = (
    Dial("delay", "Slow documents", FaultPoint.RESULT, FaultKind.DELAY, "s", 2.0, 0.05),
    Dial("network_timeout", "Network timeout", FaultPoint.EMBED, FaultKind.NETWORK_TIMEOUT),
    Dial("parse_error", "Parse error", FaultPoint.PARSE, FaultKind.PARSE_ERROR),
    Dial("file_not_found", "File not found", FaultPoint.READ, FaultKind.FILE_NOT_FOUND),
    Dial("out_of_memory", "Out of memory", FaultPoint.EMBED, FaultKind.OUT_OF_MEMORY),
    Dial("kill_parser", "Parser is killed", FaultPoint.PARSE, FaultKind.KILL),
)
_DIALS = {dial.name: dial for dial in DIALS}


@dataclass(frozen=True, slots=True)
class Step:
    """A moment of a scenario: what is said, how the sliders stand, and rules besides."""

    after: float
    text: str
    levels: dict[str, float]
    rules: tuple[FaultRule, ...] = ()


SCENARIOS: dict[str, tuple[Step, ...]] = {
    "A bad network, then calm": (
        Step(0, "Half of all calls to the model time out.", {"network_timeout": 0.5}),
        Step(6, "It gets worse: nine in ten.", {"network_timeout": 0.9}),
        Step(6, "Calm again.", {}),
    ),
    "A poisoned delivery": (
        Step(0, "Every third document does not parse.", {"parse_error": 0.33}),
        Step(6, "Some kill the parser process itself.", {"kill_parser": 0.3}),
        Step(6, "The next delivery is clean.", {}),
    ),
    "Memory runs short": (
        Step(0, "Documents run out of memory; watch the number of workers.",
             {"out_of_memory": 0.6}),
        Step(8, "There is room again; the workers come back one by one.", {}),
    ),
    "The disk is full at the next checkpoint": (
        Step(0, "The next write of the journal fails: the batch must stop, and can resume.", {},
             (FaultRule(point=FaultPoint.CHECKPOINT_WRITE, kind=FaultKind.DISK_FULL,
                        documents="journal.log", times=1),)),
    ),
    "Power cut in the middle of a write": (
        Step(0, "The next write of the journal is torn, and the worker dies.", {},
             (FaultRule(point=FaultPoint.CHECKPOINT_WRITE, kind=FaultKind.TORN_WRITE,
                        documents="journal.log"),
              FaultRule(point=FaultPoint.CHECKPOINT_WRITE, kind=FaultKind.KILL,
                        documents="journal.log"))),
    ),
}  # fmt: skip


class FaultConsole(SessionWidget):
    """Sliders and scenarios; what they set strikes within a tenth of a second.

    Args:
        session: the batch to break.
        seed: of the draws: the same seed and levels break the same documents.

    Example:
        >>> console = FaultConsole(session)
        >>> console.levels = {"parse_error": 0.25}  # what moving a slider does
    """

    _esm = source("faults.js")
    pace = 0.25
    dials: Any = traitlets.List().tag(sync=True)
    scenarios: Any = traitlets.List().tag(sync=True)
    levels = traitlets.Dict().tag(sync=True)
    fired = traitlets.Dict().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(self, session: BatchSession, seed: int = 15) -> None:
        self.seed = seed
        self.control = FaultControl(session.spec.state_dir, session.batch_id)
        self._rules: tuple[FaultRule, ...] = ()
        self._stop = threading.Event()
        super().__init__(
            session,
            dials=[
                {"name": dial.name, "label": dial.label, "unit": dial.unit,
                 "maximum": dial.maximum, "step": dial.step}
                for dial in DIALS
            ],
            scenarios=[
                name for name, steps in SCENARIOS.items()
                if session.mode == "process" or not _kills(steps)
            ],
            levels=_levels_of(self.control.plan),
            fired=_fired_by_dial(self.control.fired),
        )  # fmt: skip
        self.observe(lambda _change: self._apply(), "levels")
        self._apply()  # of a plan from before a restart, what no slider shows goes

    def _apply(self) -> None:
        rules = [_DIALS[name].rule(level) for name, level in self.levels.items() if level > 0]
        plan = FaultPlan(seed=self.seed, rules=(*rules, *self._rules))
        if plan.rules:
            self.control.set(plan)
        else:
            self.control.clear()

    def receive(self, message: dict[str, Any]) -> None:
        """Play a scenario, or clear everything."""
        if "play" in message:
            self.play(message["play"])
        else:
            self.clear()

    def clear(self) -> None:
        """No more faults; a scenario that plays ends."""
        self._stop.set()
        self.note = ""
        self._set({}, ())

    def play(self, name: str) -> threading.Thread:
        """Begin the scenario ``name``, in place of one that plays; the thread that plays it."""
        self._stop.set()
        self._stop = threading.Event()
        thread = threading.Thread(
            target=self._play, args=(SCENARIOS[name], self._stop), daemon=True, name="lesson15-play"
        )
        thread.start()
        return thread

    def _play(self, steps: tuple[Step, ...], stop: threading.Event) -> None:
        for step in steps:
            if stop.wait(step.after):
                return
            self.note = step.text
            self._set(step.levels, step.rules)

    def _set(self, levels: dict[str, float], rules: tuple[FaultRule, ...]) -> None:
        self._rules = rules
        self.levels = levels
        self._apply()  # even if the levels are what they were

    def refresh(self) -> None:
        """Send how often each fault struck; the rules of a scenario end with the run they broke."""
        if self._rules and self.session.status in (State.KILLED, State.ABORTED):
            self._set(dict(self.levels), ())
        self.fired = _fired_by_dial(self.control.fired)

    def static_html(self) -> str:
        """The levels and counts as a table."""
        self.refresh()
        rows: list[tuple[str, object]] = [
            (dial.label, f"{dial.text(self.levels.get(dial.name, 0))}; fired "
             f"{self.fired.get(dial.name, 0)}")
            for dial in DIALS
        ]  # fmt: skip
        return table_html(rows, "Fault console")

    def static_text(self) -> str:
        """The levels in a line."""
        return f"Faults: {dict(self.levels) or 'none'}; fired: {dict(self.fired) or 'none'}"


def _kills(steps: tuple[Step, ...]) -> bool:
    """Whether a scenario kills the process of the engine, which is the notebook's for a thread."""
    return any(rule.kind is FaultKind.KILL for step in steps for rule in step.rules)


def _levels_of(plan: FaultPlan) -> dict[str, float]:
    """The sliders for a plan that is in force already, after a restart of the kernel."""
    levels = {}
    for rule in plan.rules:
        for dial in DIALS:
            if (rule.point, rule.kind) == (dial.point, dial.kind):
                levels[dial.name] = rule.seconds if dial.unit == "s" else rule.rate
    return levels


def _fired_by_dial(fired: dict[str, int]) -> dict[str, int]:
    return {
        dial.name: fired[key]
        for dial in DIALS
        if (key := f"{dial.point.value}:{dial.kind.value}") in fired
    }
