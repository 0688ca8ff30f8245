"""Starts the command line as often as it is told, each time in a process of its own.

Run as a program it has imported what the commands need, and forks: a process that is begun thus
differs from one of a shell in nothing but the second of imports that it is spared.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.storms.shim import Storm

ROOT = Path(__file__).parents[2]
_PATIENCE_SECONDS = 600


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    arguments: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    def json(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.stdout)
        return content


class Zygote:
    """Runs commands with ``library`` loaded, in the working folder ``folder``."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._folder = folder
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT), "LD_PRELOAD": str(library), "LESSON15_RETRY_DELAY": "0",
            "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.storms.zygote"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def __call__(
        self,
        *arguments: object,
        storm: Storm | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        """Run ``lesson15 ARGUMENTS`` in ``storm``."""
        given = tuple(map(str, arguments))
        out, err = self._folder / "stdout", self._folder / "stderr"
        order = {
            "arguments": given, "cwd": str(self._folder), "out": str(out), "err": str(err),
            "environment": {**(environment or {}), **(storm.environment() if storm else {})},
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status = json.loads(self._process.stdout.readline())
        return Done(given, status, out.read_text(), err.read_text())


def _begin(order: dict[str, Any]) -> None:
    """Be the process that ``order`` asks for."""
    os.setsid()
    os.chdir(order["cwd"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, name in enumerate(("out", "err"), 1):
        os.dup2(os.open(order[name], flags, 0o644), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(order["environment"])
    sys.argv = ["lesson15", *order["arguments"]]
    ctypes.CDLL(None).storm_begin()


def _wait(child: int) -> int:
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -int(signal.SIGKILL)


def _serve() -> None:
    """Return in each child, to be the command; the parent ends when nobody asks any more."""
    gc.collect()
    gc.freeze()  # what children share is not looked at, and so not copied, by each of them
    while line := sys.stdin.buffer.readline():  # not a line more: a child shares the pipe
        child = os.fork()
        if not child:
            _begin(json.loads(line))
            return
        print(_wait(child), flush=True)
    sys.exit()


if __name__ == "__main__":
    import lesson15.cli
    import lesson15.engine.batch
    import lesson15.engine.processor
    import lesson15.engine.repair
    import lesson15.engine.searching
    import lesson15.engine.verify
    import lesson15.stores.faiss_store

    _serve()
    lesson15.cli.main()
