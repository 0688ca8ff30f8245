"""``explore``: the whole of Crash Lab in one call."""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lesson15.crashlab.child import DiedError, HangError, can_fork, in_child
from lesson15.crashlab.disk import Kind
from lesson15.crashlab.explorer import Ended, Explorer, Lost, Plan, Recorded, Trying
from lesson15.crashlab.oracles import Check, latest
from lesson15.crashlab.result import Loser, Result
from lesson15.errors import UsageError

_MOST_LOSERS = 500


def explore(
    work: Callable[..., Any],
    recover: Callable[[Path], Any],
    *,
    check: Check = latest,
    setup: Callable[..., Any] | None = None,
    resume: Callable[..., Any] | None = None,
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
        resume: ``resume(folder, promise)`` goes on with the work after each crash, as a program
            does that is started again; then ``recover`` must find what was promised before and
            since.
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
    _check_arguments(work, recover, check, setup, resume, disk, most_states, limit)
    plan = Plan(work, recover, check, setup, resume, disk, most_states, seed, second_crash)
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
        _collect(messages, result, limit, has_resume=resume is not None)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return result


def _collect(
    messages: Iterator[Any], result: Result, limit: float | None, *, has_resume: bool
) -> None:
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
                    result.sampled, result.unseen = message.sampled, message.unseen
    except (HangError, DiedError) as error:
        is_hanging = isinstance(error, HangError)
        what = f"did not end within {limit:g} seconds" if is_hanging else "ended its whole process"
        if trying is None:
            result.error = f"`work` {what}."
        else:
            result.lost += 1
            or_resume = " or `resume`" if has_resume else ""
            wrong = f"`recover`{or_resume} {what}; the other disks were not looked at."
            result.losers.append(replace(trying, wrong=wrong))


def _check_arguments(
    work: object, recover: object, check: object, setup: object, resume: object, disk: object,
    most_states: object, limit: object,
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
    for name, function in (("setup", setup), ("resume", resume)):
        if function is not None and not callable(function):
            raise UsageError(problem=f"`{name}` must be a function, not {function!r}.")
    if disk not in ("strict", "ext4"):
        raise UsageError(problem=f'`disk` must be "strict" or "ext4", not {disk!r}.')
    if not isinstance(most_states, int) or most_states < 1:
        raise UsageError(problem=f"`most_states` must be at least 1, not {most_states!r}.")
    if limit is not None and (not isinstance(limit, int | float) or limit <= 0):
        raise UsageError(problem=f"`limit` must be seconds, or None, not {limit!r}.")
