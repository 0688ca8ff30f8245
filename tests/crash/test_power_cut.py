"""Power cuts at every operation of a batch log, with writes kept, lost and torn."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pytest

from lesson15.checkpoint.batch_log import BatchLog
from lesson15.checkpoint.journal import read_journal
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.segment import BlockRef, SegmentReader
from lesson15.errors import CorruptCheckpointError
from lesson15.models import BatchState
from tests.crash.simulated_fs import Crash, Fate, Inode, SimulatedFile, SimulatedFileSystem

COMMITS = 4
PER_COMMIT = 3


def vectors_of(number: int) -> np.ndarray:
    return np.full((number % 3 + 1, 4), number, np.float32)


def run_batch(root: Path, fs: SimulatedFileSystem) -> int:
    """Write documents in commits until the crash; how many documents were promised durable."""
    promised = 0
    # What the batch log reads at its start must be there on the real disk.
    CheckpointManager(root).save_checkpoint(BatchState("b"))
    checkpoint = root / "b" / "checkpoint.json"
    saved = checkpoint.read_bytes()
    fs.names[checkpoint] = fs.durable_names[checkpoint] = Inode(saved, saved)
    try:
        log = BatchLog(CheckpointManager(root, fs), "b", fs)
        for commit in range(COMMITS):
            for number in range(commit * PER_COMMIT, (commit + 1) * PER_COMMIT):
                vectors = vectors_of(number)
                row, ref = log.append_block(vectors, ["text"] * len(vectors))
                log.append({"t": "doc", "id": str(number), "s": "done", "n": len(vectors),
                            "row": row, "seg": [ref.offset, ref.length, ref.crc]})  # fmt: skip
            log.commit()
            promised = (commit + 1) * PER_COMMIT
    except Crash:
        pass
    return promised


def recover(root: Path) -> int:
    """Open the log as after a crash, check all it holds, append once more; its documents."""
    manager = CheckpointManager(root)
    log = BatchLog(manager, "b")
    commit = log.committed
    ids = []
    with SegmentReader(log.folder.segment) as reader:
        for _, record in read_journal(log.folder.journal, stop=commit.position):
            if record["t"] == "doc":
                ids.append(record["id"])
                found, _ = reader.read(BlockRef(*record["seg"]))
                assert np.array_equal(found, vectors_of(int(record["id"])))
    assert ids == [str(number) for number in range(len(ids))]  # none lost, none double, in order
    assert log.state.processed_docs == len(ids)
    log.append({"t": "doc", "id": "after", "s": "done", "n": 0})
    log.commit()
    log.close()
    assert len(list(read_journal(log.folder.journal, stop=log.committed.position))) >= len(ids) + 1
    return len(ids)


def all_crashes(tmp_path: Path, make_fs: type[SimulatedFileSystem]) -> int:
    checked = 0
    for crash_at in count(1):
        fs = make_fs(crash_at)
        root = tmp_path / f"run{crash_at}"
        promised = run_batch(root, fs)
        for fate in Fate:
            disk = tmp_path / f"disk{crash_at}{fate}"
            fs.materialize(root, disk, fate)
            recovered = recover(disk)
            assert promised <= recovered <= promised + PER_COMMIT
            assert recovered % PER_COMMIT == 0  # a commit counts whole or not at all
            checked += 1
        if fs.operations < crash_at:
            return checked
    raise AssertionError


def test_every_crash_point_recovers(tmp_path: Path) -> None:
    assert all_crashes(tmp_path, SimulatedFileSystem) > 100


class NoFsync(SimulatedFileSystem):
    """The append-only files are never really flushed."""

    def open_append(self, path: Path) -> SimulatedFile:
        file = super().open_append(path)
        file.fsync = lambda: None  # type: ignore[method-assign]
        return file


class RenameFirst(SimulatedFileSystem):
    """The checkpoint gets its name before its bytes are flushed, and that is never made up for."""

    def create(self, path: Path) -> SimulatedFile:
        file = super().create(path)
        file.fsync = lambda: None  # type: ignore[method-assign]
        return file


@pytest.mark.parametrize("broken", [NoFsync, RenameFirst])
def test_the_check_catches_broken_file_systems(
    tmp_path: Path, broken: type[SimulatedFileSystem]
) -> None:
    with pytest.raises((CorruptCheckpointError, AssertionError)):
        all_crashes(tmp_path, broken)
