"""The server is killed, stopped and started again: no accepted batch is lost or done double."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lesson15 import verify
from tests.service.conftest import ROOT, ServerProcess, write_documents
from tests.webhook_receiver import Receiver

COUNT = 300
Make = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_documents(tmp_path_factory.mktemp("many") / "docs", COUNT)


def children(server: ServerProcess) -> list[psutil.Process]:
    assert server.process is not None
    return psutil.Process(server.process.pid).children(recursive=True)


def test_kill_9_loses_nothing(processes: Make, many: Path) -> None:
    server = processes("--allow", many, LESSON15_SERVICE_MAX_RUNNING="1")
    server.start()
    ann, ben = server.client("ann"), server.client("ben")
    ann.process(many, batch_id="big")
    ben.process(many / "d0001.txt", batch_id="waiting")
    for goal in (20, 150):  # two kills in the midst of it
        ann.wait("big", lambda detail, goal=goal: detail["processed_docs"] > goal)
        family = children(server)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        _, alive = psutil.wait_procs(family, timeout=150)
        assert not alive  # a worker without a server is none
        state = verify("big", server.batches("ann"))
        assert state.is_clean, state.faults
        server.start()
    assert ann.wait("big")["processed_docs"] == COUNT
    assert ben.wait("waiting")["processed_docs"] == 1
    result = verify("big", server.batches("ann"))
    assert result.is_clean, result.faults  # among others: no document was settled twice
    assert result.documents == COUNT


def test_what_was_paused_or_cancelled_stays_so(processes: Make, many: Path) -> None:
    server = processes("--allow", many, LESSON15_SERVICE_MAX_RUNNING_PER_USER="2")
    server.start()
    cat = server.client("cat")
    for name in ("pause", "cancel"):
        cat.process(many, batch_id=name)
    for name in ("pause", "cancel"):
        cat.wait(name, lambda detail: detail["processed_docs"] > 5)
        assert cat.post(f"/batch/{name}/{name}").status_code == 200
    server.stop(signal.SIGKILL)  # right after the answer
    server.start()
    time.sleep(1)
    assert cat.get("/batch/active").json()["total_count"] == 0
    before = {name: cat.detail(name) for name in ("pause", "cancel")}
    assert before["pause"]["status"] == "paused"
    assert before["cancel"]["status"] == "cancelled"
    cat.post("/batch/unpause/pause")
    cat.post("/batch/resume/cancel")
    for name, detail in before.items():
        assert 0 < detail["processed_docs"] < COUNT
        assert cat.wait(name)["processed_docs"] == COUNT
        assert verify(name, server.batches("cat")).is_clean


def test_sigterm_commits_and_the_next_server_goes_on(processes: Make, many: Path) -> None:
    server = processes("--allow", many)
    server.start()
    dan = server.client("dan")
    dan.process(many, batch_id="b")
    dan.wait("b", lambda detail: detail["processed_docs"] > 20)
    assert server.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
    server.start()
    assert dan.wait("b")["processed_docs"] == COUNT


def test_a_worker_that_dies_is_replaced(processes: Make, many: Path) -> None:
    server = processes("--allow", many)
    server.start()
    eve = server.client("eve")
    eve.process(many, batch_id="b")
    eve.wait("b", lambda detail: detail["processed_docs"] > 20)
    (worker,) = [p for p in children(server) if "lesson15.host.child" in p.cmdline()]
    worker.kill()
    detail = eve.wait("b")
    assert (detail["status"], detail["processed_docs"]) == ("finished", COUNT)
    assert "killed by SIGKILL" in server.errors.read_text()


def test_a_second_server_on_the_same_state_is_refused(processes: Make) -> None:
    server = processes()
    server.start()
    done = subprocess.run(
        [sys.executable, "-m", "lesson15.cli", "serve", "--state-dir", str(server.state),
         "--port", "0"],
        capture_output=True, text=True, cwd=ROOT, timeout=400, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Another server works on" in done.stderr


def test_the_end_is_told_even_if_the_server_was_killed(
    processes: Make, many: Path, receiver: Receiver
) -> None:
    receiver.answers = [503] * 3  # the last of four attempts comes after seconds: time to kill
    server = processes("--allow", many, LESSON15_WEBHOOK_URL=receiver.url)
    server.start()
    gil = server.client("gil")
    gil.process(many / "d0001.txt", batch_id="b")
    gil.wait("b")
    deadline = time.monotonic() + 150
    while not receiver.received:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.stop(signal.SIGKILL)
    told = len(receiver.received)
    receiver.answers = []
    server.start()
    while len(receiver.received) == told:
        assert time.monotonic() < deadline + 150
        time.sleep(0.01)
    _, body = receiver.received[-1]
    ended = json.loads(body)
    assert (ended["batch_id"], ended["user"], ended["status"]) == ("b", "gil", "finished")
    assert ended["processed_docs"] == 1
