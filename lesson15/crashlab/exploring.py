"""Runs the code under test once, and recovers from every disk that a crash of it may leave."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from lesson15.crashlab import unseen
from lesson15.crashlab.calls import BODIES, Traced
from lesson15.crashlab.child import DiedError, HangError, can_fork, in_child
from lesson15.crashlab.contents import digest, put
from lesson15.crashlab.disk import Kind, State
from lesson15.crashlab.files import file_class, open_function
from lesson15.crashlab.inode import Write
from lesson15.crashlab.oracles import Check, latest, verdict
from lesson15.crashlab.patching import swap
from lesson15.crashlab.recorder import Moment, Operation, Recorder
from lesson15.crashlab.result import Loser, Result
from lesson15.crashlab.tracebacks import trimmed
from lesson15.errors import UsageError

_MOST_NAME_CHANGES = 10
"""With more of them pending, disks are sampled: there are two to that power."""
_LEAST_A_MOMENT = 100
_MOST_LOSERS = 500
_LEAST_STRIDE = 32
"""Bytes between two tears of a write; longer writes are torn at sixteen places."""


@dataclass(frozen=True)
class Plan:
    """What is to be explored, and how."""

    work: Callable[..., Any]
    recover: Callable[..., Any]
    check: Check = latest
    setup: Callable[..., Any] | None = None
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


@contextlib.contextmanager
def traced(recorder: Recorder, *, is_last: bool = False) -> Iterator[None]:
    """Let every reference to a function that changes a disk lead to ``recorder``.

    ``is_last``: the process ends with it, so that nothing needs to be put back.
    """
    calls = {
        name: Traced(recorder, getattr(os, name), body)
        for name, body in BODIES.items()
        if hasattr(os, name)
    }
    pairs: list[tuple[Any, Any]] = [(each.real, each) for each in calls.values()]
    file_io = file_class(recorder, calls["open"])
    pairs += [(io.open, open_function(recorder, file_io)), (io.FileIO, file_io)]
    swap(pairs)
    unseen.watch(recorder)
    try:
        yield
    finally:
        unseen.unwatch()
        if not is_last:
            swap([(new, old) for old, new in pairs])


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
    _judged: dict[tuple[bytes, int, int], str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.root / "disk"
        self.folder.mkdir()
        self.recorder = Recorder(self.folder, self.plan.kind)

    def messages(self) -> Iterator[Any]:
        """The exploration, told in messages."""
        with traced(self.recorder, is_last=self.is_in_child):
            error = self._do_the_work()
            if error is not None:
                yield error
                return
            recorder = self.recorder
            self._moments, self._promised = list(recorder.moments), list(recorder.promised)
            self._begun = list(recorder.begun)
            yield Recorded(list(recorder.trace), list(recorder.unseen), self._printed)
            for at, moment in enumerate(self._moments):
                for state in self._states_of(moment, at):
                    self.states += 1
                    yield from self._judge(state, moment)
            yield Ended(self.states, len(self._recovered), self.sampled)

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
        budget = max(_LEAST_A_MOMENT, self.plan.most_states // len(self._moments))
        disk = moment.disk
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
            tuple(repr(value) for value in self._promised[: moment.promised][-5:]),
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
        wrong = self._judged[key] = self._verdict(self._recovered[key[0]], moment)
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

    def _verdict(self, recovered: tuple[Any, str | None], moment: Moment) -> str | None:
        value, error = recovered
        if error is not None:
            return error
        promised = self._promised[: moment.promised]
        begun = self._begun[: moment.begun] if self._begun else self._promised[moment.promised :]
        try:
            return verdict(self.plan.check, value, promised, begun)
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


def _longest_write(moment: Moment) -> int:
    writes = (
        change
        for node in moment.disk.nodes().values()
        for change in getattr(node, "pending", ())
        if isinstance(change, Write)
    )
    return max((len(write.data) for write in writes), default=0)


def explore(
    work: Callable[..., Any],
    recover: Callable[[Path], Any],
    *,
    check: Check = latest,
    setup: Callable[..., Any] | None = None,
    disk: Kind = "strict",
    second_crash: bool = False,
    most_states: int = 100_000,
    seed: int = 0,
    limit: float | None = 10.0,
) -> Result:
    """Run ``work`` once, and recover from every disk that a power cut during it may leave.

    The code runs unchanged, in an empty folder, in a child process: what it prints or changes in
    memory stays there.

    Args:
        work: ``work(folder, promise)`` writes files in ``folder``, a Path, and calls
            ``promise(value)`` whenever its user may believe that ``value`` is safe.
        recover: ``recover(folder)`` gives what a program that starts after the crash finds there.
        check: what must be found: ``latest`` (one value) or ``everything`` (a collection), or a
            function of yours: see :mod:`lesson15.crashlab.oracles`.
        setup: ``setup(folder)`` or ``setup(folder, promise)`` makes the files that lie safely on
            the disk when the work begins.
        disk: "strict", which keeps what is fsynced and nothing else for sure, or "ext4".
        second_crash: whether the power may also go while the first crash is recovered from.
        most_states: with more crash states than that, some are chosen by ``seed``, and the result
            says so.
        seed: another one chooses others.
        limit: seconds that ``work``, and each ``recover``, may take; None: without a limit, and in
            this process, where a debugger can follow.

    Returns:
        The :class:`Result`: ``is_safe``, ``smallest``, and a picture of it when it is printed.

    Raises:
        UsageError: an argument is not what it must be.
    """
    _check_arguments(work, recover, check, setup, disk, most_states, limit)
    plan = Plan(work, recover, check, setup, disk, most_states, seed, second_crash)
    memory = Path("/dev/shm")  # noqa: S108 - crash states are many and short-lived
    root = Path(
        tempfile.mkdtemp(prefix=f"crashlab-{os.getpid()}-", dir=memory if memory.is_dir() else None)
    )
    result = Result(kind=disk, seed=seed)
    try:
        if limit is None or not can_fork():
            messages = Explorer(plan, root, is_in_child=False).messages()
        else:
            messages = in_child(Explorer(plan, root, is_in_child=True).messages, limit)
        _collect(messages, result, limit)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return result


def _collect(messages: Iterator[Any], result: Result, limit: float | None) -> None:
    trying: Loser | None = None
    try:
        for message in messages:
            match message:
                case str():
                    result.error = message
                case Recorded():
                    result.trace, result.unseen = message.trace, message.unseen
                    result.printed = message.printed
                case Trying():
                    trying = message.loser
                    result.states, result.distinct = message.states, message.distinct + 1
                case Lost():
                    result.lost += message.is_new
                    if len(result.losers) < _MOST_LOSERS:
                        result.losers.append(message.loser)
                case Ended():
                    result.states, result.distinct = message.states, message.distinct
                    result.sampled = message.sampled
    except (HangError, DiedError) as error:
        is_hanging = isinstance(error, HangError)
        what = f"did not end within {limit:g} seconds" if is_hanging else "ended its whole process"
        if trying is None:
            result.error = f"`work` {what}."
        else:
            result.lost += 1
            wrong = f"`recover` {what}; the other disks were not looked at."
            result.losers.append(replace(trying, wrong=wrong))


def _check_arguments(
    work: object, recover: object, check: object, setup: object, disk: object, most_states: object,
    limit: object,
) -> None:  # fmt: skip
    for name, function, count in (("work", work, 2), ("recover", recover, 1), ("check", check, 3)):
        if not callable(function):
            raise UsageError(problem=f"`{name}` must be a function, not {function!r}.")
        with contextlib.suppress(ValueError):  # of some built-in functions nothing is known
            try:
                inspect.signature(function).bind(*range(count))
            except TypeError as error:
                what = {1: "(folder)", 2: "(folder, promise)", 3: "(recovered, promised, begun)"}
                raise UsageError(
                    problem=f"`{name}` is called as {name}{what[count]}, which it does not take: "
                    f"{error}."
                ) from None
    if setup is not None and not callable(setup):
        raise UsageError(problem=f"`setup` must be a function, not {setup!r}.")
    if disk not in ("strict", "ext4"):
        raise UsageError(problem=f'`disk` must be "strict" or "ext4", not {disk!r}.')
    if not isinstance(most_states, int) or most_states < 1:
        raise UsageError(problem=f"`most_states` must be at least 1, not {most_states!r}.")
    if limit is not None and (not isinstance(limit, int | float) or limit <= 0):
        raise UsageError(problem=f"`limit` must be seconds, or None, not {limit!r}.")
