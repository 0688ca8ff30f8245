"""A batch that is done again, and every disk that a power cut may leave of that: the old one or the
new one is whole on each, and it can be done again on each.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from lesson15.checkpoint.filesystem import AppendFile, OsFileSystem
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.crashlab.disk import Content, Disk, Inode, NameChange
from lesson15.crashlab.port import RecordedFile, RecordingFileSystem
from lesson15.embedding import HashingEmbedder
from lesson15.engine.verify import verify
from tests.crash import oracle
from tests.crash.conftest import make_memory_folder
from tests.crash.engine import BATCH, EMBEDDER, InlineProcessor, drive
from tests.crash.recovery_check import digest

NEW = HashingEmbedder(24)
STRIDE = 60
"""Bytes between two places where a write is torn."""
Disks = dict[str, Disk]


@dataclass(frozen=True)
class Moment:
    """The folders of the batch before an operation, and whether the new one was promised."""

    disks: Disks
    is_switched: bool


class TreeRecorder(RecordingFileSystem):
    """As its base, of a folder and the folders in it, each with a disk of its own."""

    def __init__(self, root: Path) -> None:
        super().__init__(Disk())
        self.root = root
        self.disks: Disks = {}
        self.moments: list[Moment] = []
        self.is_recording = self.is_switched = False

    def load(self) -> None:
        """Start from the folder as it is, all of it flushed."""
        self.disks = {}
        for path in self.root.rglob("*"):
            if path.is_file() and not path.name.startswith(("catalog", "index", "lock", "owner")):
                disk = self.disk_of(path)
                disk.names[path.name] = Inode(path.read_bytes())
        for disk in self.disks.values():
            disk.fsync_folder()

    def disk_of(self, path: Path) -> Disk:
        place = path.parent.relative_to(self.root).as_posix()
        return self.disks.setdefault(place, Disk())

    def before_step(self) -> None:
        if self.is_recording:
            self.moments.append(Moment(copy.deepcopy(self.disks), self.is_switched))

    def make_folder(self, path: Path) -> None:
        self._os.make_folder(path)

    def open_append(self, path: Path) -> AppendFile:
        disk = self.disk_of(path)
        if path.name not in disk.names:
            self.step()
            disk.change(NameChange(path.name, Inode()))
        return RecordedFile(self, disk.names[path.name], self._os.open_append(path))

    def create(self, path: Path) -> AppendFile:
        self.step()
        disk = self.disk_of(path)
        disk.change(NameChange(path.name, Inode()))
        return RecordedFile(self, disk.names[path.name], self._os.create(path))

    def rename(self, source: Path, target: Path) -> None:
        self.step()
        self._os.rename(source, target)
        disk = self.disk_of(source)
        disk.change(NameChange(target.name, disk.names[source.name], source.name))

    def fsync_folder(self, path: Path) -> None:
        self.step()
        disk = self.disk_of(path / "any")
        disk.fsync_folder()
        if path == self.root:  # the name is flushed by now, and the bytes were before
            self.is_switched = b'"generation": 1' in disk.names["checkpoint.json"].durable

    def truncate(self, path: Path, size: int) -> None:
        self.step()
        self._os.truncate(path, size)
        inode = self.disk_of(path).names[path.name]
        inode.durable, inode.pending = inode.content[:size], []


def outcomes(disks: Disks) -> Iterator[Content]:
    """Each disk that a power cut may leave, as files by their place."""
    places = list(disks)
    choices = [[each for _, each in disks[place].outcomes(STRIDE)] for place in places]
    for contents in product(*choices):
        yield {
            f"{place}/{name}": data
            for place, content in zip(places, contents, strict=True)
            for name, data in content.items()
        }


def put(content: Content, root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    for place, data in content.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def again(state: Path, fs: OsFileSystem | RecordingFileSystem | None = None) -> dict[str, object]:
    processor = InlineProcessor(state, 1, fs, embedder=NEW)
    return drive(processor.resume_batch(BATCH, reembed=True))


class Lab:
    def __init__(self, folder: Path) -> None:
        self.docs, self.state = folder / "docs", folder / "state"
        self.docs.mkdir(parents=True)
        for number in range(6):
            text = f"Document {number} tells of subject {number * 37}. "
            (self.docs / f"d{number}.txt").write_text(text * (1 + 20 * (number == 4)))
        (self.docs / "bad.json").write_text('{"a": [1, }')
        drive(InlineProcessor(self.state).process_batch([self.docs], BATCH))
        self.old = oracle.sequential(self.docs, EMBEDDER)
        self.new = oracle.sequential(self.docs, NEW)
        assert self.old.vectors != self.new.vectors
        self.recorder = TreeRecorder(self.state / BATCH)
        self.recorder.load()

    def check(self, scratch: Path, *, is_switched: bool) -> bool:
        """Check that what is in ``scratch`` is whole, and can be done again; whether it is new."""
        folder = CheckpointManager(scratch).open(BATCH).folder
        is_new = folder.generation > 0
        assert is_new or not is_switched, "the new one was promised"
        result = verify(BATCH, scratch)
        # What is derived is not there, and nothing else is wrong.
        assert all("index" in fault for fault in result.faults), result.faults
        embedder = NEW if is_new else EMBEDDER
        drive(InlineProcessor(scratch, embedder=embedder).process_batch([self.docs], BATCH, True))
        assert verify(BATCH, scratch).is_clean
        assert self.indexed(scratch) == (self.new if is_new else self.old)
        report = again(scratch)
        assert report["status"] == "finished"
        assert verify(BATCH, scratch).is_clean
        assert self.indexed(scratch) == self.new
        return is_new

    def indexed(self, state: Path) -> oracle.Content:
        return oracle.indexed(state, BATCH)


@pytest.mark.timeout(900)
def test_every_crash(memory_folder: Path, record_property: Callable[[str, object], None]) -> None:
    lab = Lab(memory_folder)
    recorder, scratch = lab.recorder, memory_folder / "scratch"
    recorder.is_recording = True
    again(lab.state, recorder)
    recorder.before_step()  # and after the last operation
    assert recorder.moments[-1].is_switched
    assert not recorder.moments[-2].is_switched
    seen: dict[bytes, bool] = {}
    for number, moment in enumerate(recorder.moments):
        for content in outcomes(moment.disks):
            key = digest(content)
            if key in seen:
                assert seen[key] or not moment.is_switched
                continue
            put(content, scratch / BATCH)
            try:
                seen[key] = lab.check(scratch, is_switched=moment.is_switched)
            except Exception as error:
                sizes = {name: len(data) for name, data in content.items()}
                raise AssertionError(
                    f"crash before operation {number} of {len(recorder.moments)}: {sizes}: {error}"
                ) from error
    record_property("crash_states", (len(seen), len(seen), len(seen)))
    assert len(seen) > 300
    assert {*seen.values()} == {True, False}


def test_files_that_were_not_swept(memory_folder: Path) -> None:
    """Whatever part of the old files a kill leaves behind, the new ones count."""
    lab = Lab(memory_folder)
    before = {path.name: path.read_bytes() for path in (lab.state / BATCH).iterdir()
              if path.is_file()}  # fmt: skip
    again(lab.state)
    whole = memory_folder / "whole"
    shutil.copytree(lab.state, whole)
    inner = (lab.state / BATCH / "checkpoint.json").read_bytes()
    left = [name for name in before if name not in ("checkpoint.json", "lock", "owner.json")]
    for number in range(len(left) + 1):
        scratch = make_memory_folder()
        try:
            shutil.copytree(whole, scratch, dirs_exist_ok=True)
            for name in left[number:]:
                (scratch / BATCH / name).write_bytes(before[name])
            (scratch / BATCH / "generation-1" / "checkpoint.json").write_bytes(inner)
            assert lab.check(scratch, is_switched=True)
            assert {path.name for path in (scratch / BATCH).iterdir()} == {
                "checkpoint.json", "generation-2", "lock"
            }  # fmt: skip
        finally:
            shutil.rmtree(scratch)
