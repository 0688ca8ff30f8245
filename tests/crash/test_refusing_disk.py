"""Disks that are full, read-only or forbidden: a named error, and all goes on when it is mended."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lesson15.checkpoint import CheckpointManager
from lesson15.embedding import HashingEmbedder
from lesson15.errors import CheckpointWriteError, StorageError
from tests.crash import oracle
from tests.crash.conftest import Run
from tests.crash.engine import BATCH, EMBEDDER, InlineProcessor, Recorder, drive
from tests.crash.recovery_check import check_finished, resume_and_check
from tests.crash.scenarios import Lab


class RefusingDisk(Recorder):
    """Refuses the operation number ``at`` and every one after it."""

    def __init__(self, root: Path, at: int, code: int) -> None:
        super().__init__(root)
        self._at = at
        self._code = code

    def step(self) -> None:
        super().step()
        if self.operations > self._at:
            raise OSError(self._code, os.strerror(self._code))


def attempt(engine: InlineProcessor, docs: Path) -> StorageError | None:
    """Run a new batch; what the system refused, if it did."""
    try:
        drive(engine.process_batch([docs], BATCH))
    except StorageError as error:
        return error
    return None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_refused_at_every_operation(memory_folder: Path, code: int) -> None:
    lab = Lab(memory_folder)
    expected = oracle.sequential(lab.docs, EMBEDDER)
    refused = 0
    for at in range(1000):
        state = memory_folder / f"state{at}"
        disk = RefusingDisk(state / BATCH, at, code)
        engine = InlineProcessor(state, 3, disk, disk.watch)
        error = attempt(engine, lab.docs)
        if error is None:
            break
        refused += 1
        assert isinstance(error, CheckpointWriteError)
        assert os.strerror(code) in str(error)
        assert str(state) in str(error)
        recovered = resume_and_check(state, lab.docs, disk, expected)
        assert recovered >= disk.promised
    assert refused > 30


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 400 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


@pytest.mark.parametrize("free_kib", range(4, 164, 16))
def test_a_full_disk(small_disk: Path, tmp_path: Path, free_kib: int) -> None:
    lab = Lab(tmp_path / "lab")
    state = small_disk / "state"
    expected = oracle.sequential(lab.docs, EMBEDDER)
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
    ballast.write_bytes(bytes(free - 1024 * free_kib))
    error = attempt(InlineProcessor(state, 1), lab.docs)
    if error is None:
        assert free_kib > 64
    else:
        assert str(state) in str(error)
    ballast.unlink()
    is_there = BATCH in CheckpointManager(state).list_checkpoints()
    drive(InlineProcessor(state).process_batch([lab.docs], BATCH, resume=is_there))
    check_finished(state, lab.docs, expected)


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_read_only_disk(
    small_disk: Path, tmp_path: Path, command: Run, is_finished: bool
) -> None:
    lab = Lab(tmp_path / "lab")
    state = small_disk / "state"
    engine = InlineProcessor(state, 1, embedder=HashingEmbedder())
    if not is_finished:
        engine.listeners.append(lambda record: engine.cancel())
    drive(engine.process_batch([lab.docs], BATCH))
    lab.write("new.txt", "Something to do. ")
    remount(small_disk, "ro")
    try:
        ended = {
            name: command(*arguments, "--state-dir", state)
            for name, *arguments in (
                ("resume", "resume", BATCH),
                ("retry-failed", "retry-failed", BATCH),
                ("run", "run", lab.docs, "--batch-id", "another", "--embedder", "hashing"),
                ("search", "search", "subject", "--batch-id", BATCH),
                ("verify", "verify", BATCH),
                ("status", "status", BATCH),
                ("list", "list"),
            )
        }
    finally:
        remount(small_disk, "rw")
    for name, (code, _, errors) in ended.items():
        reads_only = name in ("status", "list", "search", "verify")
        assert code == (0 if reads_only else 3), (name, code, errors)
        assert reads_only or str(state) in errors
    assert command("resume", BATCH, "--state-dir", state)[0] == 1
    expected = oracle.sequential(lab.docs, HashingEmbedder())
    check_finished(state, lab.docs, expected)
