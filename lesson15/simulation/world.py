"""A world in which one thread runs at a time, and its seed says which.

The threads of a program become actors. The one that has the baton runs; at chosen points (a lock, a
queue, an operation of the disk, the begin and the end of a job) it may have to hand the baton to
another one, or is held back for a while. Time is virtual: it stands while somebody can run, and
jumps to whoever sleeps least when nobody can.
Nothing is simulated between two points: the real code runs, on real threads.
"""

from __future__ import annotations

import ctypes
import re
import sys
from _thread import allocate_lock, get_ident
from collections.abc import Callable
from dataclasses import dataclass
from inspect import CO_OPTIMIZED
from random import Random
from types import FrameType
from typing import Any, NoReturn

from lesson15.simulation.choices import Choices, Value

EPOCH = 1_700_000_000.0
"""The wall clock when a world begins, in seconds since 1970."""
TICK = 1e-5
_QUIET_SECONDS = 300.0
_MOST_POINTS = 400_000
_REAL_PATIENCE = 600.0
# Not what is cached for the whole process, which would take other steps the second time.
_TRACED = re.compile(r"/lesson15/((engine|checkpoint|stores|embedding)/(?!identity)|progress)")


class Ended(BaseException):
    """The world is over. Not an Exception, so that nothing of the program handles it."""


class Killed(BaseException):
    """The process that the actor stands for was killed."""


class Stuck(Exception):  # noqa: N818 - what is said of the program
    """Nobody can go on, or nothing has come of it for long."""


@dataclass(frozen=True, slots=True)
class Chances:
    """How a universe treats its actors.

    Attributes:
        switch: the probability, at each point, that another actor goes on.
        hold: the probability that the actor is held back.
        longest: the longest time that one is held back, in seconds.
        low_memory: the probability that memory is low whenever the program looks.
        fine: whether every line of the engine is a point.
    """

    switch: float = 0.1
    hold: float = 0.01
    longest: float = 10.0
    low_memory: float = 0.0
    fine: bool = False


class Actor:
    """One thread of the world, or the child process that it stands for."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid
        self.baton = allocate_lock()
        self.baton.acquire()
        self.waits_for: object = None
        self.wakes_at: float | None = None
        self.is_ready = True
        self.is_killed = False
        self.has_ended = False
        self.place = "its beginning"


class World:
    """Runs the threads of one program, one at a time.

    Args:
        choices: says who goes on.
        chances: how often somebody else does.

    Attributes:
        now: virtual seconds since the world began.
        log: what happened, as (seconds, actor or "", text).
        failure: why nobody could go on, None if that did not happen.
        on_kill: called when the process is killed; it does not return.
        before: is told of each point, and may end the world there.
        pid: the id of the process.
    """

    def __init__(self, choices: Choices, chances: Chances | None = None) -> None:
        self.choices = choices
        self.chances = chances or Chances()
        self.now = 0.0
        self.pid = 4242
        self.log: list[tuple[float, str, str]] = []
        self.failure: Exception | None = None
        self.is_over = False
        self.on_kill: Callable[[], NoReturn] = self.stop
        self.before: Callable[[str], None] | None = None
        self.points = 0
        self._quiet_since = 0.0
        self._actors: dict[int, Actor] = {}
        self._ready: list[Actor] = []
        self._names: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._main: Actor | None = None
        self._running = 0

    @classmethod
    def nowhere(cls) -> World:
        """One that nothing happens in."""
        return cls(Choices(0, {}))

    # --- who there is -------------------------------------------------------------------------

    def actor(self) -> Actor | None:
        """The actor whose thread calls this, None if it is none of this world's."""
        return self._actors.get(get_ident())

    @property
    def is_ending(self) -> bool:
        """Whether the calling actor ends, as its world is over or its process was killed."""
        actor = self.actor()
        return self.is_over or (actor is not None and actor.is_killed)

    def run(self, program: Callable[[], Any]) -> Any:
        """What ``program()`` returns, called as the first actor, in this thread.

        Whatever threads are left are ended then.

        Raises:
            Ended: the world was stopped.
        """
        main = self._main = self._new_actor("main")
        self._actors[get_ident()] = main
        self._running = get_ident()
        try:
            self.trace()
            return program()
        finally:
            sys.settrace(None)
            self.is_over = True
            self._bury(main)
            self._actors.clear()

    def _new_actor(self, name: str, pid: int | None = None) -> Actor:
        number = self._names[name] = self._names.get(name, 0) + 1
        return Actor(name if number == 1 else f"{name}#{number}", pid or self.pid)

    def count(self, what: str) -> int:
        """How often this was called with ``what``, this time included."""
        self._counts[what] = self._counts.get(what, 0) + 1
        return self._counts[what]

    def prepare(
        self, run: Callable[[], Any], name: str, pid: int | None = None
    ) -> tuple[Actor, Callable[[], None]]:
        """A new actor that is ready, and what its real thread has to call in place of ``run``."""
        actor = self._new_actor(name, pid)

        def body() -> None:
            actor.baton.acquire()
            self._running = get_ident()
            self._actors[get_ident()] = actor
            try:
                if not self.is_over:
                    self.trace()
                    run()
            except (Ended, Killed):
                pass
            except BaseException:
                if not self.is_over:  # else it only shows that it was cut off
                    raise
            finally:
                self._finish(actor)

        self._ready.append(actor)
        return actor, body

    # --- points -------------------------------------------------------------------------------

    def point(self, place: str) -> None:
        """A place where another actor may go on; ``place`` says what comes next."""
        actor = self._actors.get(get_ident())
        if actor is None:
            return
        self._check(actor)
        self.points += 1
        if self.points > _MOST_POINTS:
            self._fail(Stuck(f"{_MOST_POINTS} steps did not bring it to an end"))
        self.now += TICK
        actor.place = place
        if self.before is not None:
            self.before(place)
        choice: Value = self.choices.decide(actor.name, self._draw, 0)
        if choice == 0:
            return
        if isinstance(choice, str):
            other = next((each for each in self._ready if each.name == choice), None)
            if other is None:
                return
            self.act(f"stops before {place}, and {other.name} goes on", actor)
            self._ready.append(actor)
            self._hand_over(actor, other)
        else:
            self.act(f"is held back for {choice:.3g} s before {place}", actor)
            self._sleep(actor, self.now + choice)

    def trace(self) -> None:
        """Make every line of the engine a point in the calling thread, if that is wanted."""
        if self.chances.fine:
            sys.settrace(self._on_call)

    def _on_call(self, frame: FrameType, _event: str, _argument: object) -> Any:
        code = frame.f_code
        is_of_engine = _TRACED.search(code.co_filename) and code.co_flags & CO_OPTIMIZED
        return self._on_line if is_of_engine else None

    def _on_line(self, frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line" and not self.is_over:
            self.point(f"line {frame.f_lineno} of {frame.f_code.co_qualname}")
        return self._on_line

    def _draw(self, generator: Random) -> Any:
        chances, drawn = self.chances, generator.random()
        if drawn < chances.hold:
            longest = chances.longest
            return float(round(longest * 10.0 ** generator.uniform(-4, 0), 5))
        if drawn < chances.hold + chances.switch and self._ready:
            return generator.choice(self._ready).name
        return 0

    def _check(self, actor: Actor) -> None:
        if self.is_over:
            raise Ended
        if actor.is_killed:
            raise Killed

    # --- waiting ------------------------------------------------------------------------------

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass for the calling actor."""
        actor = self._own()
        self._sleep(actor, self.now + max(seconds, 0.0))

    def wait(self, what: object, until: float | None = None) -> None:
        """Wait until :meth:`wake` is called with ``what``, or until a moment of virtual time."""
        actor = self._own()
        actor.waits_for = what
        self._sleep(actor, until)
        actor.waits_for = None

    def wake(self, what: object) -> None:
        """Let those go on that wait for ``what``, when their turn comes."""
        for actor in list(self._actors.values()):
            if actor.waits_for is what and not actor.is_ready:
                self._make_ready(actor)

    def kill(self, actor: Actor) -> None:
        """End ``actor`` where it is."""
        actor.is_killed = True
        if not actor.is_ready and not actor.has_ended:
            self._make_ready(actor)

    def _own(self) -> Actor:
        actor = self._actors[get_ident()]
        self._check(actor)
        return actor

    def _make_ready(self, actor: Actor) -> None:
        actor.is_ready, actor.wakes_at = True, None
        self._ready.append(actor)

    def _sleep(self, actor: Actor, until: float | None) -> None:
        actor.is_ready, actor.wakes_at = False, until
        self._hand_over(actor, self._next(actor))

    def _next(self, actor: Actor) -> Actor:
        """Who goes on when ``actor`` cannot; the clock jumps if nobody could."""
        sleepers = [each for each in self._actors.values() if each.wakes_at is not None]
        for each in sorted(sleepers, key=_waking_time):
            if _waking_time(each) <= self.now:
                self._make_ready(each)
        if not self._ready:
            sleepers = [each for each in sleepers if each.wakes_at is not None]
            if not sleepers:
                self._fail(Stuck(f"nobody can go on: {self._standing()}"))
            first = min(sleepers, key=_waking_time)
            self.now = _waking_time(first)
            if self.now > self._quiet_since + _QUIET_SECONDS:
                self._fail(
                    Stuck(f"nothing has come of it for {_QUIET_SECONDS:.0f} s: {self._standing()}")
                )
            self._make_ready(first)
        if len(self._ready) == 1:
            return self._ready[0]
        name = self.choices.decide(f"after {actor.name}", self._draw_next, "")
        return next((each for each in self._ready if each.name == name), self._ready[0])

    def _draw_next(self, generator: Random) -> str:
        """The one that has waited longest, as a rule."""
        if generator.random() < 0.5:
            chosen = generator.choice(self._ready)
            return "" if chosen is self._ready[0] else chosen.name
        return ""

    def _hand_over(self, actor: Actor, other: Actor) -> None:
        self._ready.remove(other)
        if other is not actor:
            other.baton.release()
            self._take_baton(actor)
        self._check(actor)

    def _take_baton(self, actor: Actor) -> None:
        if not actor.baton.acquire(timeout=_REAL_PATIENCE):
            raise RuntimeError(
                f"{actor.name} waited {_REAL_PATIENCE:.0f} s of real time: somebody else blocks "
                "outside of the simulation"
            )
        self._running = get_ident()

    # --- the end ------------------------------------------------------------------------------

    def progress(self) -> None:
        """Note that something has come of it: the program is not stuck."""
        self._quiet_since = max(self._quiet_since, self.now)

    def note(self, text: str) -> None:
        """Put on record what happened."""
        self.log.append((self.now, "", text))

    def act(self, text: str, actor: Actor | None = None) -> None:
        """Put on record what ``actor``, or the calling one, does; ``text`` begins with a verb."""
        actor = actor or self.actor()
        self.log.append((self.now, actor.name if actor else "", text))

    def stop(self) -> NoReturn:
        """End the world now: every actor ends at its next point."""
        self.is_over = True
        raise Ended

    def interrupt(self) -> None:
        """End a world in which whoever runs comes to no point any more; call it from outside."""
        if self.failure is None:
            self.failure = Stuck("somebody runs in a circle, and never lets the others go on")
        self.is_over = True
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self._running), ctypes.py_object(Ended)
        )

    def _fail(self, failure: Exception) -> NoReturn:
        self.failure = self.failure or failure
        self.stop()

    def _standing(self) -> str:
        waiting = [each for each in self._actors.values() if not each.is_ready]
        return "; ".join(f"{each.name} is at {each.place}" for each in waiting)

    def _finish(self, actor: Actor) -> None:
        """End ``actor``, in its own thread, and let another one go on."""
        actor.has_ended = True
        actor.is_ready, actor.wakes_at, actor.waits_for = False, None, None
        if self.is_over:
            del self._actors[get_ident()]
            assert self._main is not None  # noqa: S101 - it started this actor
            self._main.baton.release()
            return
        self.wake(actor)
        try:
            other = self._next(actor)
            self._ready.remove(other)
        except Ended:
            assert self._main is not None  # noqa: S101 - as above
            other = self._main
        del self._actors[get_ident()]
        other.baton.release()

    def _bury(self, main: Actor) -> None:
        """End every other actor, one after the other, each in its own thread."""
        while others := [
            *(each for each in self._actors.values() if each is not main),
            *(each for each in self._ready if each is not main and not each.has_ended),
        ]:
            other = others[0]
            if other in self._ready:
                self._ready.remove(other)
            other.baton.release()
            self._take_baton(main)


def _waking_time(actor: Actor) -> float:
    return float("inf") if actor.wakes_at is None else actor.wakes_at
