"""The side of whoever starts a host in a child process: start it, command it, hear its reports."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable

from lesson15.children import cause_of_end, child_environment
from lesson15.events import Paused
from lesson15.host.protocol import Ended, Message, Request, pack, unpack
from lesson15.host.states import Command, State

_CHUNK_BYTES = 256 * 1024
_STDERR_BYTES = 2000


class HostProcess:
    """An EngineHost in a child process; ``hear`` gets its messages. Use it on one event loop."""

    COMMAND = (sys.executable, "-P", "-m", "lesson15.host.child")

    def __init__(self, request: Request, hear: Callable[[list[Message]], None]) -> None:
        self._request = request
        self._hear = hear
        self._unsent = pack(request)
        self._process: Process | None = None
        self._is_killed = False
        self.pid: int | None = None

    async def run(self) -> Ended:
        """Start the process and see it to its end; raises OSError if it cannot be started."""
        with tempfile.TemporaryFile() as stderr:
            self._process = process = await asyncio.create_subprocess_exec(
                *self.COMMAND, stdin=PIPE, stdout=PIPE, stderr=stderr,
                cwd=self._request.folder, env=child_environment(),
                start_new_session=True,  # what interrupts this process must not interrupt the batch
            )  # fmt: skip
            self.pid = process.pid
            try:
                self._send(b"")
                if self._is_killed:
                    process.kill()
                end = await self._listen(process)
                status = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            stderr.seek(0)
            said = stderr.read()[-_STDERR_BYTES:].decode(errors="replace").strip()
        died = f"The worker process died ({cause_of_end(status)})."
        return end or Ended(State.KILLED, died, stderr=said)

    def command(self, command: Command) -> None:
        """Pause, unpause or cancel; what comes before the process runs waits for that."""
        self._send(pack(command))

    def kill(self) -> None:
        """SIGKILL, without a warning."""
        self._is_killed = True
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _send(self, line: bytes) -> None:
        self._unsent += line
        if self._process is not None:
            assert self._process.stdin is not None  # noqa: S101 - a pipe
            if not self._process.stdin.is_closing():
                self._process.stdin.write(self._unsent)
            self._unsent = b""

    async def _listen(self, process: Process) -> Ended | None:
        """Hear all that comes, lines of any length; a killed process may leave a part of one."""
        assert process.stdout is not None  # noqa: S101 - a pipe
        end, rest = None, bytearray()
        while data := await process.stdout.read(_CHUNK_BYTES):
            rest += data
            if b"\n" in data:
                *lines, rest = rest.split(b"\n")
                messages = [unpack(line) for line in lines]
                self._hear([message for message in messages if not isinstance(message, Ended)])
                for message in messages:
                    if isinstance(message, Ended):
                        end = message
                    elif isinstance(message, Paused) and self._request.pause_ends:
                        end = Ended(State.PAUSED)
                        self.kill()  # there is nothing else to keep
        return end
