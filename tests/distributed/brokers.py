"""Real brokers on free loopback ports, in folders of their own, for tests and the soak run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

BROKERS = ("redis", "rabbitmq")
_PROGRAMS = {"redis": "redis-server", "rabbitmq": "rabbitmq-server"}


def program(kind: str) -> str | None:
    """Debian's rabbitmq-server in the PATH changes to a user of its own; the one behind it not."""
    path = f"/usr/lib/rabbitmq/bin:/usr/sbin:{os.environ['PATH']}"
    return shutil.which(_PROGRAMS[kind], path=path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """A broker that can be stopped, killed and started again on the same port."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._command: list[str] = [str(program(kind))]
        self._environment = dict(os.environ)
        if kind == "redis":
            self.url = f"redis://127.0.0.1:{self._port}/0"
            self._command += [
                "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(folder),
                "--save", "",  # a restart loses every message: the hard case
            ]  # fmt: skip
        else:
            self.url = f"amqp://guest:guest@127.0.0.1:{self._port}//"
            (folder / "rabbitmq.conf").write_text(
                f"listeners.tcp.1 = 127.0.0.1:{self._port}\nlog.console = false\n"
            )
            (folder / "enabled_plugins").write_text("[].")
            self._environment |= {
                "HOME": str(folder),
                "RABBITMQ_NODENAME": f"test{self._port}@localhost",
                "RABBITMQ_NODE_PORT": str(self._port),
                "RABBITMQ_DIST_PORT": str(free_port()),
                "ERL_EPMD_PORT": str(free_port()),
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
                "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
                "RABBITMQ_LOG_BASE": str(folder / "log"),
                "RABBITMQ_PID_FILE": str(folder / "pid"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            }

    def start(self) -> None:
        with (self._folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_until(self._answers, 60)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "output.log").read_text()
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                hello = b"PING\r\n" if self.kind == "redis" else b"AMQP\x00\x00\x09\x01"
                connection.sendall(hello)
                return bool(connection.recv(1))
        except OSError:
            return False

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def close(self) -> None:
        self.stop()
        if self.kind == "rabbitmq":
            epmd = ["epmd", "-port", self._environment["ERL_EPMD_PORT"], "-kill"]
            subprocess.run(epmd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + 10 * seconds  # a loaded machine takes its time
    while not condition():
        assert time.monotonic() < end, f"not within {10 * seconds} s"
        time.sleep(0.05)
