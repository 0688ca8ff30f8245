"""The server's end of a worker process: start it, command it, hear its reports."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr

from lesson15 import errors
from lesson15.api.jobs import Job
from lesson15.logs import get_logger
from lesson15.settings import Settings

log = get_logger(__name__)
Message = dict[str, Any]
_MAX_LINE_BYTES = 64 * 1024 * 1024
_STOP_SECONDS = 10.0


class WorkerHandle:
    """One worker process, from its start to its end.

    Args:
        job: what it works on.
        settings: of the engine, with the user's state folder.
        home: its working folder, which document ids are relative to.
        interval: seconds between two reports.
        allow_faults: whether it obeys the batch's fault plan.
        on_message: called with each report.
    """

    def __init__(
        self,
        job: Job,
        settings: Settings,
        home: Path,
        interval: float,
        on_message: Callable[[Message], None],
        *,
        allow_faults: bool,
    ) -> None:
        self._request = {
            "batch_id": job.batch_id,
            "kind": job.kind.value,
            "paths": job.paths,
            "settings": _content(settings),
            "interval": interval,
            "allow_faults": allow_faults,
        }
        self._home = home
        self._on_message = on_message
        self._process: Process | None = None
        self._commands: list[str] = []

    async def run(self) -> Message:
        """Start the process and see it to its end.

        Returns:
            Its last message: ``state``, ``error`` and ``report``; ``state`` is "died" if there
            was none.
        """
        root = str(Path(errors.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "lesson15.api.worker_process",
            stdin=PIPE, stdout=PIPE, cwd=self._home, limit=_MAX_LINE_BYTES,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        self._process = process
        try:
            self._write(self._request)
            for command in self._commands:
                self._write({"command": command})
            end = await self._listen(process)
            status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return end or {"t": "end", "state": "died", "error": _cause(status), "report": None}

    def command(self, name: str) -> None:
        """Send "pause" or "cancel"."""
        self._commands.append(name)
        if self._process is not None:
            self._write({"command": name})

    async def stop(self) -> None:
        """Have the process commit and end; kill it if that takes long. :meth:`run` returns."""
        self.command("cancel")
        await asyncio.sleep(0)
        if self._process is not None:
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()

    def _write(self, message: Message) -> None:
        assert self._process is not None  # noqa: S101 - only called once it runs
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        if not self._process.stdin.is_closing():
            self._process.stdin.write(orjson.dumps(message) + b"\n")

    async def _listen(self, process: Process) -> Message | None:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        end = None
        async for line in process.stdout:
            message: Message = orjson.loads(line)
            if message["t"] == "log":
                fields = message["fields"]
                log.log(message["level"], fields.pop("event", ""), **fields)
            elif message["t"] == "end":
                end = message
            else:
                self._on_message(message)
        return end


def _content(settings: Settings) -> Message:
    """``settings`` as JSON, the secrets in clear: the pipe is private, an argument would not be."""
    secrets = {
        name: value.get_secret_value() for name, value in settings if isinstance(value, SecretStr)
    }
    return settings.model_dump(mode="json") | secrets


def _cause(status: int) -> str:
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return f"The worker process died ({how})."
