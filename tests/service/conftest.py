"""A real server for the tests: in a thread where it may live, in a process where it must die."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from lesson15.api.app import create_app
from lesson15.api.database import Database, database_path
from lesson15.api.keys import KeyStore, Role
from lesson15.api.settings import ServiceSettings
from lesson15.settings import Settings

ROOT = Path(__file__).parents[2]
ENDED = ("finished", "cancelled", "aborted", "paused")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_documents(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        text = f"Document {number} is about subject {number * 37}. " * 20
        (folder / f"d{number:04}.txt").write_text(text)
    return folder


class Client(httpx.Client):
    """A user of the service."""

    def __init__(self, url: str, key: str | None) -> None:
        headers = {"X-API-Key": key} if key else {}
        super().__init__(base_url=url, headers=headers, timeout=30)
        self.key = key

    def process(self, *paths: object, batch_id: str) -> httpx.Response:
        body = {"doc_paths": list(map(str, paths)), "batch_id": batch_id}
        return self.post("/batch/process", json=body)

    def detail(self, batch_id: str) -> dict[str, Any]:
        answer = self.get(f"/batch/detail/{batch_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def wait(
        self,
        batch_id: str,
        is_there: Callable[[dict[str, Any]], bool] = lambda detail: detail["status"] in ENDED,
        seconds: float = 400,
    ) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not is_there(detail := self.detail(batch_id)):
            assert time.monotonic() < deadline, detail
            time.sleep(0.02)
        return detail

    def upload(self, **files: bytes | str) -> httpx.Response:
        parts = [("files", (name.replace("__", "."), data)) for name, data in files.items()]
        return self.post("/files", files=parts)


class Running:
    """A server that runs, its users, and where its things are."""

    def __init__(self, url: str, state: Path) -> None:
        self.url = url
        self.state = state
        self.clients: list[Client] = []

    def client(self, user: str | None, role: Role = Role.STUDENT) -> Client:
        key = None
        if user is not None:
            database = Database(database_path(self.state))
            key, _ = KeyStore(database).add(user, role)
            database.close()
        self.clients.append(Client(self.url, key))
        return self.clients[-1]

    def batches(self, user: str) -> Path:
        return self.state / "users" / user / "batches"

    def files(self, user: str) -> Path:
        return self.state / "users" / user / "files"


@contextmanager
def serve_in_thread(state: Path, **options: Any) -> Iterator[Running]:
    engine = options.pop("engine", {})
    settings = ServiceSettings(state_dir=state, port=free_port(), **options)
    app = create_app(settings, Settings(**{"embedder": "hashing", "retry_delay": 0, **engine}))
    server = uvicorn.Server(
        uvicorn.Config(app, port=settings.port, log_config=None, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    running = Running(f"http://127.0.0.1:{settings.port}", state)
    try:
        yield running
    finally:
        for client in running.clients:
            client.close()
        server.should_exit = True
        thread.join()


ServeInThread = Callable[..., AbstractContextManager[Running]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that every user may process: eight good documents, two bad ones."""
    folder = write_documents(tmp_path_factory.mktemp("shared") / "docs", 8)
    (folder / "empty.txt").touch()
    (folder / "broken.json").write_text('{"a": [1, }')
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Running]:
    """A server for the tests of one module."""
    options = {"allowed_roots": (shared,), "failed_login_limit": "10000/minute",
               "allow_faults": True}  # fmt: skip
    with serve_in_thread(tmp_path_factory.mktemp("service"), **options) as running:
        yield running


@pytest.fixture(scope="module")
def alice(server: Running) -> Client:
    return server.client("alice")


@pytest.fixture(scope="module")
def bob(server: Running) -> Client:
    return server.client("bob")


class ServerProcess(Running):
    """`lesson15 serve` in a process of its own."""

    def __init__(self, state: Path, *arguments: object, **environment: str) -> None:
        self.port = free_port()
        super().__init__(f"http://127.0.0.1:{self.port}", state)
        self.errors = state.parent / f"{state.name}.stderr"
        self._command = [
            sys.executable, "-m", "lesson15.cli", "serve", "--state-dir", str(state),
            "--port", str(self.port), *map(str, arguments),
        ]  # fmt: skip
        self._environment = {
            **os.environ, "LESSON15_EMBEDDER": "hashing", "LESSON15_RETRY_DELAY": "0",
            "LESSON15_CHECKPOINT_INTERVAL": "5", **environment,
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                self._command, stderr=errors, cwd=ROOT, env=self._environment
            )
        deadline = time.monotonic() + 400
        while True:
            try:
                if httpx.get(self.url + "/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGKILL) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(timeout=400)
        self.process = None
        return code


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Makes server processes, and ends them."""
    made: list[ServerProcess] = []

    def make(*arguments: object, **environment: str) -> ServerProcess:
        made.append(ServerProcess(tmp_path / f"state{len(made)}", *arguments, **environment))
        return made[-1]

    yield make
    for server in made:
        server.stop()
        for client in server.clients:
            client.close()


def events(client: Client, batch_id: str) -> list[tuple[str, dict[str, Any]]]:
    """All server-sent events of a batch, to the end of the stream."""
    found, name = [], ""
    with client.stream("GET", f"/batch/events/{batch_id}") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                found.append((name, json.loads(line[6:])))
    return found
