"""What of Python a universe replaces while it runs, so that nothing but its seed decides.

Clocks, sleep, randomness, process ids, locks, threads, SQLite connections, and what the system
tells of memory and files. Each stands in for actors alone: other threads of the process get the
real thing. No code of the engine is replaced; it is the one that is shipped.
"""

from __future__ import annotations

import asyncio.subprocess
import concurrent.futures.thread
import gc
import logging
import os
import queue
import random
import signal
import sqlite3
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, tzinfo
from functools import cached_property
from types import ModuleType
from typing import Any

from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.documents.parsed import Fingerprint
from lesson15.engine import concurrency
from lesson15.faults import clock as fault_clock
from lesson15.simulation import primitives
from lesson15.simulation.children import hash_of_process
from lesson15.simulation.primitives import present_world
from lesson15.simulation.world import EPOCH, Killed, World

_ABSENT = object()
_CPUS = 2


@contextmanager
def replaced(world: World, folder: str) -> Iterator[None]:
    """Let the threads of ``world`` see its clock, its randomness and ``folder`` as the working one,
    within the block.
    """
    undo: list[tuple[Any, str, Any]] = []
    disabled, was_collecting = logging.root.manager.disable, gc.isenabled()
    randomness = random.getstate()
    try:
        by_identity: dict[int, Any] = {id(datetime): _Datetime}
        for owner, name, new in _replacements(world, folder):
            old = vars(owner).get(name, _ABSENT)
            undo.append((owner, name, old))
            by_identity[id(old)] = new
            setattr(owner, name, new)
        for owner, name, old in _imported_by_name(set(by_identity)):
            undo.append((owner, name, old))
            setattr(owner, name, by_identity[id(old)])
        logging.disable()
        gc.disable()
        gc.freeze()  # so that what was there before is not looked through at the end
        random.seed(f"{world.choices.seed}/random")
        primitives.enter(world)
        yield
    finally:
        primitives.leave()
        fault_clock._clocks.clear()
        for owner, name, old in reversed(undo):
            if old is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, old)
        random.setstate(randomness)
        logging.disable(disabled)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of coroutines and files that were cut off
            gc.collect()
        gc.unfreeze()
        if was_collecting:
            gc.enable()


def _imported_by_name(originals: set[int]) -> Iterator[tuple[ModuleType, str, Any]]:
    """Where modules of lesson15 have what is replaced under a name of their own."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("lesson15.") and not module_name.startswith(__package__ or ""):
            for name, value in list(vars(module).items()):
                if id(value) in originals:
                    yield module, name, value


def _replacements(world: World, folder: str) -> Iterator[tuple[Any, str, Any]]:
    yield threading, "Lock", primitives.Lock
    yield threading, "_allocate_lock", primitives.Lock
    yield threading, "_CRLock", None  # so that RLock is made of a Lock
    yield threading.Thread, "start", primitives.start
    yield threading.Thread, "join", primitives.join
    yield threading.Thread, "is_alive", primitives.is_alive
    yield threading.Thread, "__hash__", primitives.hash_of
    yield asyncio.subprocess.Process, "__hash__", hash_of_process
    yield queue, "SimpleQueue", queue._PySimpleQueue  # type: ignore[attr-defined]
    yield concurrent.futures.thread, "_global_shutdown_lock", primitives.Lock()
    for value in vars(StoredBatch).values():
        if isinstance(value, cached_property):  # a real lock, which Python 3.12 has done away with
            yield value, "lock", nullcontext()
    yield sqlite3, "connect", _connect(sqlite3.connect)
    yield time, "time", _for_actors(time.time, lambda world: EPOCH + world.now)
    yield time, "time_ns", _for_actors(time.time_ns, lambda world: int((EPOCH + world.now) * 1e9))
    for name in ("monotonic", "perf_counter"):
        yield time, name, _for_actors(getattr(time, name), lambda world: world.now)
    yield time, "monotonic_ns", _for_actors(time.monotonic_ns, lambda world: int(world.now * 1e9))
    yield time, "sleep", _for_actors(time.sleep, World.sleep)
    yield os, "getpid", _for_actors(os.getpid, _pid)
    yield os, "kill", _for_actors(os.kill, _kill)
    yield os, "getcwd", _for_actors(os.getcwd, lambda _world: folder)
    yield os, "cpu_count", _for_actors(os.cpu_count, lambda _world: _CPUS)
    entropy = world.choices.generator("entropy")
    yield os, "urandom", _for_actors(os.urandom, lambda _world, size: entropy.randbytes(size))
    # Whether a file has changed is told by the time of its content alone: no program can set that
    # of its entry, which would differ from run to run.
    yield Fingerprint, "from_stat", classmethod(_fingerprint)
    yield (
        concurrency,
        "free_memory_fraction",
        _for_actors(concurrency.free_memory_fraction, _free_memory),
    )


def _for_actors(real: Callable[..., Any], simulated: Callable[..., Any]) -> Callable[..., Any]:
    """``simulated``, given the world, in its threads; ``real`` in others."""

    def either(*arguments: Any, **options: Any) -> Any:
        world = present_world()
        if world is None:
            return real(*arguments, **options)
        return simulated(world, *arguments, **options)

    return either


class _Datetime(datetime):
    """Datetimes that are now when the world is."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return datetime.fromtimestamp(time.time(), tz)


def _pid(world: World) -> int:
    actor = world.actor()
    return actor.pid if actor else world.pid


def _kill(world: World, pid: int, number: int) -> None:
    """SIGKILL, to the process that the actor stands for."""
    if number != signal.SIGKILL or pid != _pid(world):
        raise NotImplementedError(f"signal {number} to process {pid} is not simulated")
    if pid == world.pid:
        world.act("kills the process")
        world.on_kill()
    actor = world.actor()
    assert actor is not None  # noqa: S101 - actors alone come here
    actor.is_killed = True
    raise Killed


def _fingerprint(cls: type[Fingerprint], status: os.stat_result) -> Fingerprint:
    return cls(status.st_size, status.st_mtime_ns, status.st_mtime_ns)


def _free_memory(world: World, *_arguments: Any) -> float:
    """What is free when the engine looks, which is every quarter of a second."""
    return 0.01 if world.choices.happens("memory is low", world.chances.low_memory) else 0.5


class _Connection(sqlite3.Connection):
    """A connection with a point before each statement and each end of a transaction."""

    def execute(self, query: str, *values: Any) -> sqlite3.Cursor:
        _point(query)
        return super().execute(query, *values)

    def executemany(self, query: str, values: Any, /) -> sqlite3.Cursor:
        _point(query)
        return super().executemany(query, values)

    def __exit__(self, *error: Any) -> Any:
        _point("the end of a transaction")
        return super().__exit__(*error)


def _point(query: str) -> None:
    world = present_world()
    if world is not None:
        world.point(f"the catalogue's {' '.join(query.split()[:3])}")


def _connect(real: Callable[..., Any]) -> Callable[..., Any]:
    def connect(*arguments: Any, **options: Any) -> Any:
        if present_world() is not None:
            options.setdefault("factory", _Connection)
        return real(*arguments, **options)

    return connect
