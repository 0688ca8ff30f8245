"""Locks and threads that hand over the baton of a world instead of blocking for real.

Outside of a world, and in threads that are none of its actors, they are what they stand for.
"""

from __future__ import annotations

import re
import threading
from _thread import allocate_lock
from collections.abc import Callable
from typing import Any

from lesson15.simulation.world import Actor, World

_NUMBERED = re.compile(r"^(?:Thread-\d+(?: \((.*)\))?$|ThreadPoolExecutor-\d+)")
_worlds: list[World] = []
_start = threading.Thread.start
_join = threading.Thread.join
_is_alive = threading.Thread.is_alive


def enter(world: World) -> None:
    """Let locks and threads belong to ``world`` from now on; there is one at a time."""
    if _worlds:
        raise RuntimeError("a universe runs in this process already: run one at a time")
    _worlds.append(world)


def leave() -> None:
    """The opposite of :func:`enter`."""
    _worlds.clear()


def present_world() -> World | None:
    """The world of the calling thread, None if that is no actor."""
    if _worlds and _worlds[0].actor() is not None:
        return _worlds[0]
    return None


class Lock:
    """Stands for :class:`threading.Lock`."""

    def __init__(self) -> None:
        self._lock = allocate_lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As the real one; other actors may go on before."""
        world = present_world()
        if world is None:
            return self._lock.acquire(blocking, timeout)
        if not world.is_ending:  # else whoever ends may tidy up
            world.point("taking a lock")
        if self._lock.acquire(blocking=False):
            return True
        if not blocking:
            return False
        until = None if timeout < 0 else world.now + timeout
        while not self._lock.acquire(blocking=False):
            if until is not None and world.now >= until:
                return False
            world.wait(self, until)
        return True

    def release(self) -> None:
        """As the real one."""
        self._lock.release()
        if _worlds and (world := present_world()):
            world.wake(self)

    def locked(self) -> bool:
        """As of the real one."""
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self._lock = allocate_lock()


class _Flag:
    """An event for what happens outside of the world: that a real thread has begun."""

    def __init__(self) -> None:
        self._is_set = False
        self._lock = allocate_lock()
        self._lock.acquire()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            self._lock.acquire(timeout=-1 if timeout is None else timeout)
        return self._is_set


def start_for_real(thread: threading.Thread) -> None:
    """Start ``thread`` whatever world there is."""
    setattr(thread, "_started", _Flag())  # noqa: B010 - so that nobody waits in the world
    _start(thread)


def start_as(world: World, run: Callable[[], Any], name: str, pid: int | None = None) -> Actor:
    """An actor that runs ``run``, for a thread or a process of the id ``pid``."""
    actor, body = world.prepare(run, name, pid)
    start_for_real(threading.Thread(target=body, name=f"universe-{name}", daemon=True))
    return actor


def start(self: threading.Thread) -> None:
    """Stands for :meth:`threading.Thread.start`: the thread becomes an actor."""
    world = present_world()
    if world is None:
        _start(self)
        return
    found = _NUMBERED.match(self.name)
    name = (found[1] or "thread") if found else self.name
    run = self.run
    actor, body = world.prepare(run, name.removeprefix("lesson15-"))
    self.run = body  # type: ignore[method-assign]
    self._actor = actor  # type: ignore[attr-defined]
    start_for_real(self)
    world.point("going on beside a new thread")


def join(self: threading.Thread, timeout: float | None = None) -> None:
    """Stands for :meth:`threading.Thread.join`."""
    world, actor = present_world(), _actor_of(self)
    if world is None or actor is None:
        _join(self, timeout)
        return
    until = None if timeout is None else world.now + max(timeout, 0.0)
    while not actor.has_ended:
        if until is not None and world.now >= until:
            return
        world.wait(actor, until)
    _join(self)


def is_alive(self: threading.Thread) -> bool:
    """Stands for :meth:`threading.Thread.is_alive`."""
    actor = _actor_of(self)
    if present_world() is None or actor is None:
        return _is_alive(self)
    return not actor.has_ended


def hash_of(self: threading.Thread) -> int:
    """Stands for the hash of a thread, which is to be the same each time: threads lie in sets."""
    number: int | None = vars(self).get("_number_in_world")
    if number is None:
        world = present_world()
        if world is None or self.ident is not None:
            return object.__hash__(self)
        number = self._number_in_world = world.count("threads")  # type: ignore[attr-defined]
    return number


def _actor_of(thread: Any) -> Actor | None:
    return getattr(thread, "_actor", None)
