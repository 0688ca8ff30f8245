"""Runs the code under test once, and recovers from every disk that a crash of it may leave."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import io
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from lesson15.crashlab.contents import digest, put
from lesson15.crashlab.disk import Kind, State
from lesson15.crashlab.inode import Write
from lesson15.crashlab.oracles import Check, latest, verdict
from lesson15.crashlab.recorder import Moment, Operation, Recorder, short
from lesson15.crashlab.result import Loser
from lesson15.crashlab.tracebacks import trimmed
from lesson15.crashlab.tracing import traced

_MOST_NAME_CHANGES = 10
"""With more of them pending, disks are sampled: there are two to that power."""
_LEAST_A_MOMENT = 100
_MOST_BYTES = 1_000_000_000
"""To be written to all disks together, so that large files do not take for ever."""
_LEAST_OF_LARGE = 12
"""Disks of a moment that are looked at, however large they are."""
_LEAST_STRIDE = 32
"""Bytes between two tears of a write; longer writes are torn at sixteen places."""


@dataclass(frozen=True)
class Plan:
    """What is to be explored, and how."""

    work: Callable[..., Any]
    recover: Callable[..., Any]
    check: Check = latest
    setup: Callable[..., Any] | None = None
    resume: Callable[..., Any] | None = None
    kind: Kind = "strict"
    most_states: int = 100_000
    seed: int = 0
    second_crash: bool = False


@dataclass(frozen=True)
class Recorded:
    """A message: the work was done, and this is its trace."""

    trace: list[Operation]
    unseen: list[str]
    printed: str


@dataclass(frozen=True)
class Alive:
    """A message: the lab itself is at work, which does not count as the code's time."""


@dataclass(frozen=True)
class Trying:
    """A message: this disk is being recovered; if nothing comes after it, it hangs."""

    loser: Loser | None
    states: int
    distinct: int


@dataclass(frozen=True)
class Lost:
    """A message: this disk loses; ``is_new``: it has not been told before."""

    loser: Loser
    is_new: bool


@dataclass(frozen=True)
class Ended:
    """A message: all was looked at."""

    states: int
    distinct: int
    sampled: int
    unseen: list[str]


def run(function: Callable[..., Any], *args: Any) -> Any:
    """What ``function`` gives, awaited if it is asynchronous."""
    result = function(*args)
    if inspect.isawaitable(result):

        async def wait() -> Any:
            return await result

        return asyncio.run(wait())
    return result


@dataclass
class Explorer:
    """One exploration; its messages are made in the process where the code runs."""

    plan: Plan
    root: Path
    is_in_child: bool
    states: int = 0
    sampled: int = 0
    _losing: set[bytes] = field(default_factory=set)
    _recovered: dict[bytes, tuple[Any, str | None]] = field(default_factory=dict)
    _resumed: dict[bytes, tuple[list[Any], tuple[Any, str | None]]] = field(default_factory=dict)
    _judged: dict[tuple[bytes, int, int], str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.root / "disk"
        self.folder.mkdir()
        self.recorder = Recorder(self.folder, self.plan.kind)

    def messages(self) -> Iterator[Any]:
        """The exploration, told in messages."""
        with traced(self.recorder, is_last=self.is_in_child):
            yield Alive()
            error = self._do_the_work()
            if error is not None:
                yield error
                return
            recorder = self.recorder
            moments, self._count = deque(recorder.moments), len(recorder.moments)
            self._promised, self._begun = list(recorder.promised), list(recorder.begun)
            recorder.moments.clear()
            yield Recorded(list(recorder.trace), list(recorder.unseen), self._printed)
            if recorder.unseen:
                return
            for at in range(self._count):
                yield Alive()
                moment = moments.popleft()  # it may hold much
                for state in self._states_of(moment, at):
                    self.states += 1
                    yield from self._judge(state, moment)
            yield Ended(self.states, len(self._recovered), self.sampled, list(recorder.unseen))

    def _do_the_work(self) -> str | None:
        recorder, output = self.recorder, io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                recorder.load()
                if self.plan.setup is not None:
                    parameters = inspect.signature(self.plan.setup).parameters
                    arguments = (self.folder, recorder.promise)[: max(1, len(parameters))]
                    with recorder.active():
                        run(self.plan.setup, *arguments)
                    recorder.disk.sync()
                    recorder.restart()
                with recorder.active():
                    run(self.plan.work, self.folder, Promise(recorder))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever the student's code raises
                return trimmed(error)
            finally:
                self._printed = output.getvalue()[-2000:]
        if not recorder.promised:
            return (
                "`work` promised nothing, so nothing can be lost: let it call promise(value) when "
                "it has told its user that `value` is safe."
            )
        return None

    def _states_of(self, moment: Moment, at: int) -> Iterator[State]:
        """The disks of a moment: all of them, or some if they are too many."""
        disk, moments = moment.disk, self._count
        budget = max(_LEAST_A_MOMENT, self.plan.most_states // moments)
        size = sum(map(len, disk.content().values()))
        budget = min(budget, max(_LEAST_OF_LARGE, _MOST_BYTES // (moments * (size + 1))))
        if disk.pending_names <= _MOST_NAME_CHANGES:
            stride = max(_LEAST_STRIDE, _longest_write(moment) // 16)
            states = list(itertools.islice(disk.states(stride), budget + 1))
            if len(states) <= budget:
                yield from states
                return
        self.sampled += 1
        yield from disk.sampled(budget, Random(self.plan.seed * 1_000_003 + at))  # noqa: S311

    def _judge(self, state: State, moment: Moment) -> Iterator[Any]:
        key = (digest(state.content), moment.promised, moment.begun)
        if key in self._judged:
            return
        loser = Loser(
            moment.lines,
            state.fates,
            state.content,
            "",
            tuple(short(value) for value in self._promised[: moment.promised][-5:]),
            moment.disk.unflushed(),
        )
        yield from self._try(loser, key, moment)
        if self.plan.second_crash and state.is_coarse and self._judged[key] is None:
            yield from self._crash_again(loser, moment)

    def _try(self, loser: Loser, key: tuple[bytes, int, int], moment: Moment) -> Iterator[Any]:
        if key[0] not in self._recovered:
            yield Trying(loser, self.states, len(self._recovered))
            put(loser.content, self.folder)
            self._recovered[key[0]] = self._recover()
        wrong = self._verdict(self._recovered[key[0]], moment)
        if wrong is None and self.plan.resume is not None:
            if key[0] not in self._resumed:
                yield Trying(loser, self.states, len(self._recovered))
                put(loser.content, self.folder)
                self._recover()
                self._resumed[key[0]] = self._resume(self.plan.resume)
            again, recovered = self._resumed[key[0]]
            wrong = self._verdict(recovered, moment, again)
            wrong = wrong and f"After the work has gone on from there: {wrong}"
        self._judged[key] = wrong
        if wrong is not None:
            is_new = key[0] not in self._losing
            self._losing.add(key[0])
            yield Lost(replace(loser, wrong=wrong), is_new)

    def _recover(self) -> tuple[Any, str | None]:
        """What `recover` gives, or what it raised."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                return run(self.plan.recover, self.folder), None
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever the student's code raises
                return None, f"`recover` raised\n{trimmed(error)}"

    def _resume(self, resume: Callable[..., Any]) -> tuple[list[Any], tuple[Any, str | None]]:
        """What is promised when the work goes on, and what is found at its end."""
        promise = Promises()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                run(resume, self.folder, promise)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever the student's code raises
                return [], (None, f"`resume` raised\n{trimmed(error)}")
        return promise.values, self._recover()

    def _verdict(
        self, recovered: tuple[Any, str | None], moment: Moment, again: Sequence[Any] = ()
    ) -> str | None:
        """What is wrong with what was recovered; ``again`` was promised after the crash."""
        value, error = recovered
        if error is not None:
            return error
        promised = self._promised[: moment.promised]
        begun = self._begun[: moment.begun] if self._begun else self._promised[moment.promised :]
        try:
            return verdict(self.plan.check, value, [*promised, *again], begun)
        except KeyboardInterrupt:
            raise
        except BaseException as failure:  # noqa: BLE001 - a check of a student's own
            return f"`check` raised\n{trimmed(failure)}"

    def _crash_again(self, first: Loser, moment: Moment) -> Iterator[Any]:
        """Let the power go at every moment of a recovery, too."""
        recorder = self.recorder
        put(first.content, self.folder)
        recorder.load()
        recorder.restart()
        with recorder.active():
            self._recover()
        moments, trace = list(recorder.moments), list(recorder.trace)
        if not trace:
            return
        for again in moments:
            for _, content, _ in again.disk.states():
                self.states += 1
                key = (digest(content), moment.promised, moment.begun)
                if key not in self._judged:
                    done = trace[again.lines - 1].text if again.lines else "its beginning"
                    where = f"and once more, in the recovery, after: {done}"
                    loser = replace(first, content=content, in_recovery=where)
                    yield from self._try(loser, key, moment)


class Promise:
    """What `work` is given: ``promise(value)`` says that ``value`` is safe from now on."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __call__(self, value: object = True) -> None:
        """Say that ``value`` is safe from now on."""
        self._recorder.promise(value)

    def begin(self, value: object) -> None:
        """Say that ``value`` may be found from now on, though it is not promised yet.

        Without it, everything that is promised later in the run may be found earlier.
        """
        self._recorder.begin(value)


class Promises:
    """What `resume` is given: as :class:`Promise`, with nothing to record."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def __call__(self, value: object = True) -> None:
        """Say that ``value`` is safe from now on."""
        self.values.append(copy.deepcopy(value))

    def begin(self, value: object) -> None:
        """Say that ``value`` may be found; at the end of the work that says nothing."""


def _longest_write(moment: Moment) -> int:
    writes = (
        change
        for node in moment.disk.nodes().values()
        for change in getattr(node, "pending", ())
        if isinstance(change, Write)
    )
    return max((len(write.data) for write in writes), default=0)
