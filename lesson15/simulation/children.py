"""Parser processes that are actors of the world, behind asyncio's own interface of processes.

Such a child runs the real program of the parsers on pipes in memory. It may be slow, its answers
come in pieces, and it may die at any point.
"""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import importlib
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import orjson

from lesson15.documents.parsed import ParseOptions
from lesson15.documents.parser_process import work_off
from lesson15.simulation.primitives import start_as
from lesson15.simulation.world import Killed, World

if TYPE_CHECKING:
    from lesson15.simulation.loop import SimulatedLoop

_DEATH = 0.01
"""The probability that a child dies with a document, as by the system's hand when memory is low."""


class _Requests:
    """What the child reads: the other end of its standard input."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._data = bytearray()
        self._is_closed = False

    def feed(self, data: bytes) -> None:
        self._data += data
        self._world.wake(self)

    def close(self) -> None:
        self._is_closed = True
        self._world.wake(self)

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer only if the pipe is closed."""
        while len(self._data) < size and not self._is_closed:
            self._world.wait(self)
        data = bytes(self._data[:size])
        del self._data[:size]
        return data


class _Replies:
    """Where the child writes: its parent gets what was flushed, in one piece or in two."""

    def __init__(self, world: World, deliver: Callable[[bytes], None]) -> None:
        self._world = world
        self._deliver = deliver
        self._data = b""

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def flush(self) -> None:
        world, data, self._data = self._world, self._data, b""
        world.sleep(world.choices.decide("time of parsing", _draw_seconds, 0.001))
        if world.choices.happens("children that die", _DEATH):
            world.act("dies")
            raise Killed
        cut = world.choices.number("pieces of answers", 0, 3) * len(data) // 4
        for piece in filter(None, (data[:cut], data[cut:])):
            world.progress()
            self._deliver(piece)
            world.point("writing on")


def _draw_seconds(generator: Random) -> float:
    """Most documents are parsed in no time, some take seconds."""
    return float(round(0.001 * 10.0 ** (4 * generator.random() ** 3), 4))


class _Input(asyncio.WriteTransport):
    """The parent's end of the child's standard input."""

    def __init__(self, requests: _Requests) -> None:
        super().__init__()
        self._requests = requests
        self._is_closing = False
        self.is_broken = False

    def write(self, data: Any) -> None:
        if not self.is_broken:
            self._requests.feed(bytes(data))

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True
        self._requests.close()


class _Output(asyncio.ReadTransport):
    """The parent's end of the child's standard output; there is always room in its buffer."""

    def pause_reading(self) -> None:
        """There is room."""

    def resume_reading(self) -> None:
        """As above."""

    def close(self) -> None:
        """Nothing is to be released."""


class ChildTransport(asyncio.SubprocessTransport):
    """One child, as asyncio sees it."""

    def __init__(self, world: World, loop: SimulatedLoop, protocol: Any, pid: int) -> None:
        super().__init__()
        self._world = world
        self._loop = loop
        self._protocol = protocol
        self._pid = pid
        self._status: int | None = None
        self._waiters: list[asyncio.Future[int]] = []
        self.requests = _Requests(world)
        self._pipes: dict[int, Any] = {0: _Input(self.requests), 1: _Output()}
        self.actor: Any = None
        self.is_dead = False

    def get_pid(self) -> int:
        """The id of the process."""
        return self._pid

    def get_returncode(self) -> int | None:
        """The exit status, None while it lives, as far as its parent knows."""
        return self._status

    def get_pipe_transport(self, fd: int) -> Any:
        """One end of a pipe."""
        return self._pipes.get(fd)

    def kill(self) -> None:
        """End the child; its parent learns of it later."""
        if not self.is_dead:
            self._world.kill(self.actor)

    def send_signal(self, signal: int) -> None:  # noqa: ARG002 - every one of them ends it
        """As :meth:`kill`."""
        self.kill()

    terminate = kill

    def close(self) -> None:
        """Nothing is to be released."""

    async def _wait(self) -> int:
        """What ``Process.wait()`` waits for."""
        if self._status is None:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter
        assert self._status is not None  # noqa: S101 - it has ended
        return self._status

    def tell_parent(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call ``function`` on the event loop, unless that is closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def lose_pipes(self) -> None:
        """The child's ends are closed; called on the event loop."""
        self._pipes[0].is_broken = True
        self._protocol.pipe_connection_lost(0, BrokenPipeError())
        self._protocol.pipe_connection_lost(1, None)

    def exited(self, status: int) -> None:
        """The system says how the child ended; called on the event loop."""
        self._status = status
        self._protocol.process_exited()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(status)


def hash_of_process(self: asyncio.subprocess.Process) -> int:
    """Stands for the hash of a process, which is to be the same each time: they lie in sets."""
    transport = self._transport  # type: ignore[attr-defined]
    return self.pid if isinstance(transport, ChildTransport) else object.__hash__(self)


def start_child(
    world: World, loop: SimulatedLoop, protocol: Any, command: Sequence[str]
) -> ChildTransport:
    """Start the parser process of ``command``, as the pool of parsers gives it.

    Raises:
        NotImplementedError: it is something else.
    """
    if "-m" not in command:
        raise NotImplementedError(f"only parser processes can be simulated, not {command!r}")
    at = command.index("-m") + 1
    program, options = importlib.import_module(command[at]), command[at + 3]
    number = world.count("children")
    transport = ChildTransport(world, loop, protocol, world.pid + number)
    replies = _Replies(
        world, lambda data: transport.tell_parent(protocol.pipe_data_received, 1, data)
    )

    def run() -> None:
        try:
            parse_options = ParseOptions(**orjson.loads(options))
            work_off(program.parse, parse_options, transport.requests, replies)
            status = 0
        except Killed:
            status = -signal.SIGKILL
        transport.is_dead = True
        transport.actor.is_killed = False  # what follows is done by the system
        world.progress()
        ends: list[Callable[[], None]] = [transport.lose_pipes, partial(transport.exited, status)]
        if world.choices.happens("exits seen before the pipe breaks", 0.3):
            ends.reverse()
        for end in ends:
            transport.tell_parent(end)

    transport.actor = start_as(world, run, f"parser-{number}", transport.get_pid())
    protocol.connection_made(transport)
    return transport
