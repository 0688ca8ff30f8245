"""An event loop on the virtual time of a world.

It is asyncio's own, and keeps its order: what was scheduled first runs first. What the outside
decides is up to the seed: when a thread's answer arrives, how late a timer is, what a child process
does.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from random import Random
from typing import Any, TypeVar

from lesson15.simulation.children import ChildTransport, start_child
from lesson15.simulation.world import Ended, World

T = TypeVar("T")
_MOST_WAITS = 100
_LATE = 0.05
"""The probability that a timer is late."""
_LATEST = 1.0
"""By so many seconds at most."""


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on where it lies in memory."""

    def __init__(self, work: Any, number: int, context: Context, **options: Any) -> None:
        self.number = number  # first, as asyncio puts the task in a set
        self.own_context = context
        super().__init__(work, context=context, **options)

    def __hash__(self) -> int:
        return self.number


class _Future(asyncio.Future[Any]):
    """As above."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class SimulatedLoop(asyncio.BaseEventLoop):
    """The event loop of ``world``, for its first actor."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._numbers = itertools.count(1)
        self._is_woken = False
        self._selector = self  # what asyncio asks for what has happened outside
        self.set_task_factory(self._make_task)
        self.complaints: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, context: self.complaints.append(context))

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Any,
        context: Context | None = None,
        **options: Any,
    ) -> Any:
        if self._world.is_over:
            work.close()
            raise Ended
        return _Task(work, next(self._numbers), context or copy_context(), loop=loop, **options)

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop; when the world is over, nobody waits any more."""
        if self._world.is_over:
            raise Ended
        return _Future(next(self._numbers), self)

    def time(self) -> float:
        """Virtual seconds."""
        return self._world.now

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """As every loop's; the call may be late."""
        late = self._world.choices.decide("late timers", _draw_lateness, 0.0)
        return super().call_at(when + late, callback, *args, context=context)

    def select(self, timeout: float | None) -> list[Any]:
        """Let the others go on: for a moment, or until one wakes this loop or a timer is due."""
        world = self._world
        if timeout == 0 or self._is_woken:
            world.point("its next turn")
        else:
            world.wait(self, None if timeout is None else world.now + timeout)
        self._is_woken = False
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none: whatever happens outside calls ``call_soon_threadsafe``."""

    def _write_to_self(self) -> None:
        self._is_woken = True
        self._world.wake(self)
        self._world.point("going on after it has called the event loop")

    async def subprocess_exec(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.SubprocessProtocol],
        program: Any,
        *args: Any,
        **_options: Any,
    ) -> tuple[ChildTransport, asyncio.SubprocessProtocol]:
        """Start a simulated parser process; see :mod:`lesson15.simulation.children`."""
        protocol = protocol_factory()
        return start_child(self._world, self, protocol, [program, *args]), protocol


def _draw_lateness(generator: Random) -> float:
    if generator.random() < _LATE:
        return float(round(_LATEST * 10.0 ** generator.uniform(-4, 0), 5))
    return 0.0


def run_in_world(world: World, program: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What ``program()`` comes to, on an event loop of ``world``, whose threads all end then.

    Raises:
        Ended: the world was stopped.
    """

    def main() -> T:
        loop = SimulatedLoop(world)
        try:
            result = loop.run_until_complete(program())
            loop.run_until_complete(loop.shutdown_default_executor())
            return result
        finally:
            world.is_over = True
            _put_away(loop)

    result: T = world.run(main)
    return result


def _put_away(loop: SimulatedLoop) -> None:
    """Close what is still under way, now that the world is over: none of it can do anything."""
    loop.set_exception_handler(lambda _loop, _context: None)
    tasks = [task for task in asyncio.all_tasks(loop) if isinstance(task, _Task)]
    asyncio._set_running_loop(loop)
    try:
        for task in sorted(tasks, key=hash):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            task.own_context.run(_end, task.get_coro())
    finally:
        asyncio._set_running_loop(None)
    loop.close()


def _end(work: Any) -> None:
    """Raise in ``work``, wherever it waits, until it waits no more."""
    for _ in range(_MOST_WAITS):
        try:
            work.throw(Ended())
        except BaseException:  # noqa: BLE001 - however it ends
            return
