"""Real kills: a batch is SIGKILLed at random times, resumed, and compared with an oracle.

200 kills in all, in four tests so that they spread over the cores.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lesson15.engine.verify import verify
from tests.crash import oracle

KILLS_PER_TEST = 50
KILLS_WHILE_ENCRYPTING = 20
DOCUMENTS = 120
MAX_CONCURRENT = 4
INTERVAL = 5


class KillServer:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.kill_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def run(self, docs: Path, state: Path, log: Path, delay: float | None) -> dict[str, Any]:
        command = {
            "docs": str(docs),
            "state": str(state),
            "batch": "b",
            "log": str(log),
            "delay": delay,
            "embedder": "hashing",
            "store": "faiss",
            "max_concurrent": MAX_CONCURRENT,
            "interval": INTERVAL,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        reply: dict[str, Any] = json.loads(self._process.stdout.readline())
        return reply

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module")
def server() -> Iterator[KillServer]:
    server = KillServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    for number in range(DOCUMENTS):
        text = f"Document {number} tells of subject {number * 7919 % 1000}. " * (number % 40 + 1)
        (folder / f"d{number:03}.txt").write_text(text, encoding="utf-8")
    (folder / "d010-empty.txt").touch()
    (folder / "d050-broken.json").write_text('{"a": [1, }', encoding="utf-8")
    return folder


def read_log(path: Path) -> set[str]:
    return set(path.read_text().splitlines()) if path.exists() else set()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_times_then_resumed(
    server: KillServer, docs: Path, tmp_path: Path, seed: int
) -> None:
    kill_and_resume(server, docs, tmp_path, seed, KILLS_PER_TEST)


@pytest.mark.timeout(900)
def test_killed_while_encrypting(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LESSON15_ENCRYPTION_KEY", "5a" * 32)
    server = KillServer()
    try:
        kill_and_resume(server, docs, tmp_path, 5, KILLS_WHILE_ENCRYPTING)
    finally:
        server.close()
    assert b"tells of subject" not in (tmp_path / "whole" / "b" / "segment.bin").read_bytes()


def kill_and_resume(server: KillServer, docs: Path, tmp_path: Path, seed: int, count: int) -> None:
    expected = oracle.sequential(docs, "hashing")
    whole = server.run(docs, tmp_path / "whole", tmp_path / "whole.log", None)
    assert whole["code"] == 0
    assert oracle.indexed(tmp_path / "whole", "b") == expected

    dice = random.Random(seed)
    kills, most_redone, attempt = 0, 0, 0
    while kills < count:
        attempt += 1
        assert attempt < 3 * count, "most runs end before the kill"
        state = tmp_path / f"state{attempt}"
        first, second = tmp_path / f"{attempt}.1.log", tmp_path / f"{attempt}.2.log"
        killed = server.run(docs, state, first, dice.uniform(0, whole["seconds"]))
        if not killed["killed"]:
            continue
        kills += 1
        resumed = server.run(docs, state, second, None)
        assert resumed["code"] == 0
        result = verify("b", state)
        assert result.is_clean, result.faults
        assert result.status == "finished"
        assert oracle.indexed(state, "b") == expected
        started, restarted = read_log(first), read_log(second)
        assert started | restarted == expected.vectors.keys() | expected.failures
        redone = len(started & restarted)
        # One interval is being flushed, another one waits or fills; the rest is in work.
        assert redone <= 2 * INTERVAL + MAX_CONCURRENT
        most_redone = max(most_redone, redone)
    print(f"{kills} kills, at most {most_redone} documents redone")
    assert most_redone > 0, "no kill fell into the work"


@pytest.mark.timeout(300)
def test_killed_again_and_again(server: KillServer, docs: Path, tmp_path: Path) -> None:
    """A batch that is killed during each resume still gets there."""
    expected = oracle.sequential(docs, "hashing")
    whole = server.run(docs, tmp_path / "whole", tmp_path / "log", None)["seconds"]
    state, dice, kills = tmp_path / "state", random.Random(99), 0
    for _ in range(100):
        reply = server.run(docs, state, tmp_path / "log", dice.uniform(0.3, 0.6) * whole)
        kills += reply["killed"]
        if not reply["killed"]:
            assert reply["code"] == 0
            break
    else:
        assert server.run(docs, state, tmp_path / "log", None)["code"] == 0
    assert kills >= 2
    assert verify("b", state).is_clean
    assert oracle.indexed(state, "b") == expected
