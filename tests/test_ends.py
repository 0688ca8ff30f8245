"""How the command line ends: full disks, closed streams, signals, stores that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from lesson15.errors import StoreError
from lesson15.stores import VectorStore
from lesson15.stores.faiss_store import FaissStore
from lesson15.stores.guard import GuardedStore
from tests import command_line
from tests.test_cli import ROOT, lesson15

CLI = (sys.executable, "-m", "lesson15.cli")
ENVIRONMENT = {**os.environ, "LESSON15_RETRY_DELAY": "0"}


def shell(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs ``command`` in bash; "$@" in it is the command line with ``arguments``."""
    return subprocess.run(
        ["bash", "-c", command, "bash", *CLI, *map(str, arguments)],
        capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, timeout=300,
    )  # fmt: skip


def fill(path: Path) -> None:
    """Write to ``path`` until the disk is full."""
    with suppress(OSError), path.open("wb", 0) as file:
        while True:
            file.write(bytes(1024))


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(4):
        (docs / f"d{number}.txt").write_text(f"Document {number}, subject {number * 37}. " * 20)
    done = lesson15("run", docs, "--batch-id", "b", "--state-dir", tmp_path / "state",
                    "--embedder", "hashing")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tmp_path / "state"


@pytest.fixture
def full_disk(tmp_path: Path, batch: Path) -> Iterator[Path]:
    """A state folder on a file system without a free byte."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    subprocess.run(["cp", "-r", batch, folder / "state"], check=True)
    fill(folder / "ballast")
    yield folder / "state"
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("is_derived_lost", [False, True])
def test_a_disk_without_a_free_byte(full_disk: Path, is_derived_lost: bool) -> None:
    if is_derived_lost:
        for path in (full_disk / "b").glob("[ci]*.*"):
            if path.name != "checkpoint.json":
                path.unlink()
        fill(full_disk.parent / "more")
    reading = {"verify", "search", "status", "list", "repair"}
    for name, *arguments in (
        ("search", "subject 111", "--batch-id", "b"), ("verify", "b"), ("status", "b"), ("list",),
        ("repair", "b"), ("resume", "b"), ("retry-failed", "b"),
    ):  # fmt: skip
        done = lesson15(name, *arguments, "--state-dir", full_disk)
        assert "Traceback" not in done.stderr, (name, done.stderr)
        if name in reading:
            assert done.returncode in ((0, 1) if is_derived_lost else (0,)), (name, done)
        else:
            assert done.returncode == 3, (name, done)
            assert str(full_disk) in done.stderr


def test_an_index_that_cannot_be_saved_is_said_to_be_behind(batch: Path) -> None:
    at = ("--state-dir", batch)
    index = batch / "b" / "index.faiss"
    index.unlink()
    (index / "in the way").mkdir(parents=True)
    done = lesson15("resume", "b", *at, "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["status"], report["processed_docs"]) == (3, "aborted", 4)
    assert "Every document is committed, but the index at" in report["error"]
    assert f"lesson15 resume b --state-dir {batch}" in done.stderr
    (hit,) = json.loads(
        lesson15("search", "subject 111", "-k", 1, "--batch-id", "b", *at, "--json").stdout
    )["hits"]
    assert hit["doc_id"].endswith("d3.txt")
    verified = json.loads(lesson15("verify", "b", *at, "--json").stdout)
    assert (verified["index"], verified["ok"]) == ("stale", False)
    (index / "in the way").rmdir()
    index.rmdir()
    assert lesson15("resume", "b", *at).returncode == 0
    assert json.loads(lesson15("verify", "b", *at, "--json").stdout)["index"] == "current"


def test_closed_and_full_streams(batch: Path) -> None:
    at = ("--state-dir", batch)
    docs = batch.parent / "docs"
    new = ("run", docs, *at, "--embedder", "hashing", "--batch-id")
    done = shell('"$@" 2>&-', *new, "no-stderr")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no-stderr: finished" in done.stdout
    done = shell('"$@" >&-', *new, "no-stdout")
    assert (done.returncode, done.stdout) == (0, "")
    done = shell('"$@" >&- 2>&- <&-', *new, "nothing")
    assert done.returncode == 0
    done = shell('"$@" >/dev/full', *new, "full")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "The output could not be written" in done.stderr
    done = shell('"$@" 2>/dev/full', "status", "missing", *at)
    assert done.returncode == 2
    done = shell('"$@" | true; exit ${PIPESTATUS[0]}', "list", *at)
    assert (done.returncode, done.stderr) in ((141, ""), (0, ""))  # 0: it was read before it ended
    for name in ("no-stderr", "no-stdout", "nothing", "full"):
        assert lesson15("verify", name, *at).returncode == 0


def test_an_interrupt_before_the_batch_is_open(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(100):
        (docs / f"{number}.txt").write_text(f"harbour {number}")
    program = tmp_path / "early.py"
    program.write_text(
        "import os, signal, sys, time\n"
        "from lesson15.cli import main\n"
        "from lesson15.engine.processor import BatchProcessor\n"
        "create = BatchProcessor.create\n"
        "def interrupted(self, *arguments):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(0.3)\n"
        "    return create(self, *arguments)\n"
        "BatchProcessor.create = interrupted\n"
        f"sys.argv = ['lesson15', 'run', {str(docs)!r}, '--batch-id', 'b', '--state-dir',\n"
        f"            {str(tmp_path / 'state')!r}, '--embedder', 'hashing']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "b: cancelled, 0 of " in done.stdout
    resumed = lesson15("resume", "b", "--state-dir", tmp_path / "state")
    assert "100 of 100 documents done" in resumed.stdout


def test_an_interrupt_while_modules_are_imported(tmp_path: Path) -> None:
    program = tmp_path / "sooner.py"
    program.write_text(
        "import builtins, os, signal, sys\n"
        "load = builtins.__import__\n"
        "def interrupted(name, *arguments, **named):\n"
        "    if name == 'lesson15.cli':\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return load(name, *arguments, **named)\n"
        "from lesson15.__main__ import main\n"
        "builtins.__import__ = interrupted\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT,
        check=False, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_second_interrupt(batch: Path, tmp_path: Path) -> None:
    """The first one waits for a checkpoint, which a document that hangs can delay; not so 130."""
    program = tmp_path / "hangs.py"
    program.write_text(
        "import os, signal, sys, threading\n"
        "from lesson15.cli import main\n"
        "from lesson15.engine.batch import Batch\n"
        "from lesson15.engine.processor import BatchProcessor\n"
        "async def hang(self, batch_id, **options):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    await __import__('asyncio').sleep(0.1)\n"
        "    threading.Event().wait()\n"
        "BatchProcessor.resume_batch = hang\n"
        f"sys.argv = ['lesson15', 'resume', 'b', '--state-dir', {str(batch)!r}]\n"
        "main()\n"
    )
    with subprocess.Popen(
        [sys.executable, program], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT
    ) as process:
        assert process.stderr is not None
        line = ""
        while "Ctrl-C again" not in line:
            line = process.stderr.readline()
            assert line, "it ended before the first interrupt"
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 130
    assert "130" in lesson15("--help").stdout


def test_a_batch_of_a_newer_schema(batch: Path) -> None:
    path = batch / "b" / "checkpoint.json"
    content = json.loads(path.read_bytes())
    del content["checksum"]
    content["schema_version"] = 99
    crc = zlib.crc32(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))
    path.write_bytes(orjson.dumps({**content, "checksum": f"{crc:08x}"}))
    listed = json.loads(lesson15("list", "--state-dir", batch, "--json").stdout)
    assert [each["status"] for each in listed["batches"]] == ["newer"]
    for name in ("resume", "repair"):
        done = lesson15(name, "b", "--state-dir", batch)
        assert done.returncode == 3
        assert "Upgrade lesson15" in done.stderr
        assert "To go on" not in done.stderr


class Moody(FaissStore):
    """Fails ``times`` with ``error`` when something is added, after adding it."""

    def __init__(self, path: Path, error: Exception, times: int) -> None:
        super().__init__(path, 2)
        self._error = error
        self.left = times

    def add(self, rows: Any, vectors: Any) -> None:
        super().add(rows, vectors)
        if self.left:
            self.left -= 1
            raise self._error


@pytest.mark.parametrize("error", [TimeoutError("too slow"), ConnectionResetError("gone")])
def test_a_passing_error_of_a_store_is_tried_again(tmp_path: Path, error: Exception) -> None:
    store: VectorStore = GuardedStore("mine", tmp_path, lambda: Moody(tmp_path / "i", error, 2))
    store.add(np.array([1, 2]), np.eye(2, dtype=np.float32))
    assert sorted(store.rows().tolist()) == [1, 2]
    assert store.search(np.array([1, 0], np.float32), 1)[0][0] == 1


@pytest.mark.parametrize("error", [TimeoutError("too slow"), ZeroDivisionError("its own fault")])
def test_a_store_that_fails_is_named(tmp_path: Path, error: Exception) -> None:
    store = GuardedStore("mine", tmp_path, lambda: Moody(tmp_path / "i", error, 99))
    with pytest.raises(StoreError, match=rf"'mine'.*{type(error).__name__}") as failed:
        store.add(np.array([1]), np.ones((1, 2), np.float32))
    assert "free the disk" not in str(failed.value)
    with pytest.raises(KeyError):
        store.get(np.array([7]))


def test_a_terminal_without_the_characters_of_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the harbour \u6587 lies quiet", encoding="utf-8")
    at = ("--state-dir", tmp_path / "state")
    for command in (("run", tmp_path / "a.txt", "--batch-id", "b"), ("search", "harbour \u6587",
                    "--batch-id", "b")):  # fmt: skip
        done = command_line.lesson15(
            *command, *at, PYTHONIOENCODING="ascii", LESSON15_EMBEDDER="hashing"
        )
        assert done.returncode == 0, done.stderr
    assert "the harbour \\u6587 lies quiet" in done.stdout
