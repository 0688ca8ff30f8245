"""What never comes back: a model, a step, a parser, a disk. The process ends all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lesson15 import verify
from tests.embedding.server import EmbeddingServer, Trouble
from tests.storms.shim import NEVER_RETURNS, Storm, build, compiler

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "tests" / "plugin_package"
CLI = (sys.executable, "-m", "lesson15.cli")
STUCK = "never come back"
PATIENCE_SECONDS = 240
Options = tuple[object, ...]


def environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), str(PLUGINS)])
    return {**os.environ, "PYTHONPATH": paths, "LESSON15_RETRY_DELAY": "0", **more}


def lesson15(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *map(str, arguments)],
        capture_output=True, text=True, cwd=ROOT, env=environment(**more), timeout=PATIENCE_SECONDS,
    )  # fmt: skip


def of_parser(docs: Path) -> Options:
    (docs / "d2.txt").rename(docs / "d2.hang")  # whose loader hangs
    return ("--embedder", "hashing")


def of_step(docs: Path) -> Options:
    return ("--embedder", "hashing", "--step", "stuck")


def of_embedder(docs: Path) -> Options:
    return ("--embedder", "stuck")


# A parser's time is that of its process to start, too.
NO_PATIENCE = {of_parser: {"LESSON15_PARSE_TIMEOUT": "20"},
               of_step: {"LESSON15_STEP_TIMEOUT": "8"},
               of_embedder: {"LESSON15_EMBED_TIMEOUT": "8"}}  # fmt: skip
HANGS = pytest.mark.parametrize("options_of", [of_parser, of_step, of_embedder])


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Six documents, of which the third is the one that hangs."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(6):
        text = STUCK if number == 2 else f"Document {number} is about subject {number * 37}."
        (folder / f"d{number}.txt").write_text(text)
    return folder


def check_ended(done: subprocess.CompletedProcess[str]) -> None:
    """All is done but the document that hangs, which is in the dead-letter list."""
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["status"], report["processed_docs"]) == ("finished", 5)
    (failure,) = report["failures"]
    assert Path(failure["doc_id"]).stem == "d2"


@HANGS
def test_the_process_ends(docs: Path, state: Path, options_of: Callable[[Path], Options]) -> None:
    at = ("--state-dir", state, "--json")
    options, patience = options_of(docs), NO_PATIENCE[options_of]
    patience = {**patience, "LESSON15_MAX_RETRIES": "0"}
    done = lesson15("run", docs, "--batch-id", "b", *options, *at, **patience)
    check_ended(done)
    assert "_TIMEOUT" in json.loads(done.stdout)["failures"][0]["error"]  # the remedy
    assert lesson15("verify", "b", *at).returncode == 0
    check_ended(lesson15("retry-failed", "b", *at, **patience))
    listed = json.loads(lesson15("failures", "b", *at).stdout)
    assert [Path(each["doc_id"]).stem for each in listed["failures"]] == ["d2"]


def test_the_process_ends_though_a_server_never_answers(docs: Path, state: Path) -> None:
    at = ("--state-dir", state, "--json")
    with EmbeddingServer(lambda texts: Trouble("hang") if STUCK in " ".join(texts) else None) as of:
        name = of.name(dimensions=16, timeout=2)
        check_ended(lesson15("run", docs, "--batch-id", "b", "--embedder", name, *at,
                             LESSON15_MAX_RETRIES="1"))  # fmt: skip
        of.trouble = lambda texts: None
        done = lesson15("retry-failed", "b", *at)
        assert (done.returncode, json.loads(done.stdout)["processed_docs"]) == (0, 6)
    assert verify("b", state).is_clean


def test_a_server_that_answers_nobody_aborts_the_batch(docs: Path, state: Path) -> None:
    at = ("--state-dir", state, "--json")
    with EmbeddingServer(lambda texts: Trouble("hang")) as of:
        name = of.name(dimensions=16, timeout=1)
        done = lesson15("run", docs, "--batch-id", "b", "--embedder", name, *at,
                        LESSON15_OUTAGE_PATIENCE="3", LESSON15_MAX_RETRIES="0")  # fmt: skip
        assert done.returncode == 3, done
        assert "Traceback" not in done.stderr
        assert not json.loads(done.stdout)["failed_docs"]  # nobody is blamed for the outage
        of.trouble = lambda texts: None
        done = lesson15("resume", "b", *at)
        assert (done.returncode, json.loads(done.stdout)["processed_docs"]) == (0, 6)


@contextmanager
def started(*arguments: object, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A command, which is killed in the end."""
    with subprocess.Popen(
        [*CLI, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=environment(**more),
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


@HANGS
def test_an_interrupt_does_not_wait_for_what_hangs(
    docs: Path, state: Path, tmp_path: Path, options_of: Callable[[Path], Options]
) -> None:
    """The call may take five minutes, and a parser one."""
    options, log = options_of(docs), tmp_path / "stuck"
    with started("run", docs, "--batch-id", "b", *options, "--state-dir", state,
                 "--checkpoint-interval", 1, TEST_STUCK_LOG=str(log)) as process:  # fmt: skip
        wait_until(log.exists)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 3, said
    assert "Traceback" not in said
    status = json.loads(lesson15("status", "b", "--state-dir", state, "--json").stdout)
    assert (status["status"], status["failed_docs"]) == ("cancelled", 0)
    assert verify("b", state).is_clean


@pytest.mark.skipif(compiler() is None, reason="there is no C compiler to build storm.c with")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_disk_that_hangs_is_left_at_the_second_interrupt(
    docs: Path, state: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """The first one waits for a checkpoint, which will never come."""
    storm = Storm((state,), ("fsync",), NEVER_RETURNS, spared=6, log=tmp_path / "struck")
    more = {"LD_PRELOAD": str(build(tmp_path)), **storm.environment()}
    arguments = ("--batch-id", "b", "--embedder", "hashing", "--state-dir", state)
    with started("run", docs, *arguments, "--checkpoint-interval", 1, **more) as process:
        wait_until(lambda: bool(storm.struck()))
        process.send_signal(number)
        assert process.stderr is not None
        line = ""
        while "again to quit now" not in line:
            line = process.stderr.readline()
            assert line, "it ended before"
        time.sleep(1)
        assert process.poll() is None  # it waits
        sent = time.monotonic()
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == code
        assert time.monotonic() - sent < 30
    done = lesson15("resume", "b", "--state-dir", state, "--json")
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["processed_docs"] == 6
    assert verify("b", state).is_clean
