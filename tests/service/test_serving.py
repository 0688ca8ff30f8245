"""`lesson15 serve` and `lesson15 keys` as an operator uses them."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.service.certificates import certificate
from tests.service.conftest import ROOT, ServerProcess


def lesson15(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lesson15.cli", *map(str, arguments)],
        capture_output=True, text=True, cwd=ROOT, timeout=400, env={**os.environ, **environment},
    )  # fmt: skip


def test_keys(tmp_path: Path) -> None:
    at = ("--state-dir", tmp_path)
    plain = lesson15("keys", "add", "alice", *at)
    assert plain.stdout.startswith("l15_")
    made = json.loads(lesson15("keys", "add", "bob", "--role", "admin", *at, "--json").stdout)
    assert (made["user"], made["role"], made["revoked_at"]) == ("bob", "admin", None)
    assert lesson15("keys", "revoke", made["key_id"], *at).returncode == 0
    listed = json.loads(lesson15("keys", "list", *at, "--json").stdout)["keys"]
    assert [(key["user"], bool(key["revoked_at"])) for key in listed] == [
        ("alice", False), ("bob", True)
    ]  # fmt: skip
    text = lesson15("keys", "list", *at).stdout
    assert "revoked" in text
    assert plain.stdout.strip().rpartition("_")[2] not in text
    for arguments, message in (
        (("add", "../x"), "not a user name"),
        (("add", "x", "--role", "king"), "no role 'king'"),
        (("revoke", "none"), "no valid key 'none'"),
    ):
        done = lesson15("keys", *arguments, *at)
        assert done.returncode == 2
        assert message in done.stderr


def test_tls(tmp_path: Path, processes: Callable[..., ServerProcess]) -> None:
    cert, key = certificate(tmp_path, b"pw")
    server = processes(
        "--tls-certificate", cert, "--tls-key", key, LESSON15_SERVICE_TLS_KEY_PASSWORD="pw"
    )
    server.process = subprocess.Popen(
        server._command, stderr=subprocess.DEVNULL, cwd=ROOT, env=server._environment
    )
    context = ssl.create_default_context(cafile=str(cert))
    url = server.url.replace("http", "https")
    deadline = time.monotonic() + 400
    with httpx.Client(verify=context) as client:
        while True:
            try:
                assert client.get(f"{url}/healthz").json()["status"] == "ok"
                break
            except httpx.ConnectError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{server.url}/healthz")
    server.stop(signal.SIGTERM)


def test_what_cannot_be_served_is_named(tmp_path: Path) -> None:
    at = ("--state-dir", tmp_path)
    done = lesson15("serve", *at, "--tls-certificate", tmp_path / "c.pem")
    assert done.returncode == 2
    assert "certificate and its key" in done.stderr
    done = lesson15("serve", *at, LESSON15_SERVICE_MAX_RUNNING="none")
    assert done.returncode == 2
    assert "LESSON15_SERVICE_MAX_RUNNING='none'" in done.stderr
    # Names that are not settings, and those of the other class, disturb neither.
    done = lesson15("list", *at, LESSON15_SERVICE_PORT="1", LESSON15_SOMETHING="else")
    assert done.returncode == 0


HIDE = (
    "import sys; sys.modules['fastapi'] = None; sys.argv = ['lesson15', *sys.argv[1:]]\n"
    "from lesson15.cli import main; main()"
)


def test_without_the_extra_packages(tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", HIDE, *map(str, arguments), "--state-dir", str(tmp_path)],
            capture_output=True, text=True, cwd=ROOT, timeout=400,
        )  # fmt: skip

    done = run("serve")
    assert done.returncode == 2
    assert "pip install lesson15[service]" in done.stderr
    assert run("keys", "add", "alice").returncode == 0
    assert run("list").returncode == 0


def test_the_command_line_loads_no_web_framework() -> None:
    code = (
        "import sys, lesson15.cli\n"
        "heavy = {'fastapi', 'starlette', 'uvicorn', 'sqlite3', 'httpx', 'prometheus_client'}\n"
        "sys.exit(str(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)"
    )
    # coverage.py, which `make test` starts in every child process, loads sqlite3 itself.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env
    )
    assert done.returncode == 0, done.stderr


def test_json_logs_of_the_command_line(docs: Path, state: Path) -> None:
    done = lesson15(
        "run", docs, "--batch-id", "b", "--state-dir", state, "--embedder", "hashing", "--json",
        LESSON15_LOG_FORMAT="json", LESSON15_RETRY_DELAY="0",
    )  # fmt: skip
    assert json.loads(done.stdout)["failed_docs"] == 2
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["batch_id"] for line in lines} == {"b"}
    assert sum(line["event"] == "document set aside" for line in lines) == 2
