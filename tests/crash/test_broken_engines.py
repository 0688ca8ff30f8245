"""Engines broken on purpose, one fault each: the check of every crash must catch them all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lesson15.checkpoint import batch_files, state_files
from lesson15.checkpoint.batch_files import BatchFiles, Cut
from lesson15.checkpoint.filesystem import FileSystem
from lesson15.checkpoint.journal import JournalWriter, Position
from lesson15.checkpoint.segment import SegmentWriter
from lesson15.checkpoint.state_files import Commit
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.engine.writer import Writer
from lesson15.errors import CorruptCheckpointError
from lesson15.events import Event
from lesson15.stores.catalog import Catalog
from tests.crash.recovery_check import Tally, check_every_crash
from tests.crash.scenarios import Lab, crashed_before, first_run
from tests.wrappers import Around, WithoutFsync

Patch = pytest.MonkeyPatch
Break = Callable[[Patch], None]
Scenario = Callable[[Lab, int], None]


class NewFilesWithoutFsync(Around):
    def create(self, path: Path) -> Any:
        return WithoutFsync(self.inner.create(path))


class WithoutFolderFsync(Around):
    def fsync_folder(self, path: Path) -> None:
        pass


class RenamedFirst(Around):
    """A new file gets its final name before its bytes are written and flushed."""

    def create(self, path: Path) -> Any:
        self.file = Delayed(self.inner.create(path))
        return self.file

    def rename(self, source: Path, target: Path) -> None:
        self.inner.rename(source, target)
        self.file.do_it()


class Delayed(Around):
    def write(self, data: bytes) -> None:
        self.data = data

    def fsync(self) -> None:
        pass

    def close(self) -> None:
        pass

    def do_it(self) -> None:
        self.inner.write(self.data)
        self.inner.fsync()
        self.inner.close()


def writer_without_fsync(kind: type[JournalWriter | SegmentWriter]) -> Break:
    def apply(patch: Patch) -> None:
        init = kind.__init__

        def broken(self: Any, *arguments: Any) -> None:
            init(self, *arguments)
            self._file = WithoutFsync(self._file)

        patch.setattr(kind, "__init__", broken)

    return apply


def documents_through(wrapper: Callable[[FileSystem], Any]) -> Break:
    """Checkpoint and manifest are replaced through a file system that is less than it should be."""

    def apply(patch: Patch) -> None:
        replace = state_files.replace_file
        patch.setattr(
            state_files, "replace_file", lambda fs, path, data: replace(wrapper(fs), path, data)
        )

    return apply


def commit_with(**changes: Callable[[Commit], int]) -> Break:
    """Checkpoints name other numbers than those that are true."""

    def apply(patch: Patch) -> None:
        def broken(**fields: int) -> Commit:
            commit = Commit(**fields)
            update = {name: change(commit) for name, change in changes.items()}
            return commit.model_copy(update=update)

        patch.setattr(batch_files, "Commit", broken)

    return apply


def segment_flushed_after_the_commit(patch: Patch) -> None:
    write = BatchFiles.write

    def broken(self: BatchFiles, cut: Cut) -> None:
        late: list[Callable[[], None]] = []

        def later(writer: SegmentWriter, blocks: Any) -> None:
            late.append(lambda: write_blocks(writer, blocks))

        write_blocks = SegmentWriter.write
        patch.setattr(SegmentWriter, "write", later)
        write(self, cut)
        patch.setattr(SegmentWriter, "write", write_blocks)
        for flush in late:
            flush()

    patch.setattr(BatchFiles, "write", broken)


def tail_not_cut(patch: Patch) -> None:
    patch.setattr(batch_files, "cut_off", lambda fs, path, size: None)


def catalogue_before_the_commit(patch: Patch) -> None:
    write = Writer._write

    def broken(self: Writer) -> list[Event]:
        cut = self._cuts[0]
        self.catalog.apply(cut.events, cut.commit.position)
        return write(self)

    patch.setattr(Writer, "_write", broken)


def stale_catalogue_believed(patch: Patch) -> None:
    catch_up = Catalog.catch_up

    def broken(self: Catalog, batch: StoredBatch) -> None:
        if self.position == Position():
            catch_up(self, batch)

    patch.setattr(Catalog, "catch_up", broken)


LOST = "data was lost|commit [0-9]+ was promised"
BROKEN: dict[str, tuple[Break, str]] = {
    "journal without fsync": (writer_without_fsync(JournalWriter), LOST),
    "segment without fsync": (writer_without_fsync(SegmentWriter), LOST),
    "checkpoint without fsync": (documents_through(NewFilesWithoutFsync), "not JSON"),
    "checkpoint renamed before it is written": (documents_through(RenamedFirst), "not JSON"),
    "folder without fsync": (documents_through(WithoutFolderFsync), "the file is missing"),
    "segment flushed after the commit": (segment_flushed_after_the_commit, LOST),
    "journal offset 1 too large": (
        commit_with(journal_bytes=lambda c: c.journal_bytes + 1), "ahead of the commit"
    ),
    "journal offset 1 too small": (
        commit_with(journal_bytes=lambda c: c.journal_bytes - 1), "no record with the committed"
    ),
    "segment offset 1 too large": (
        commit_with(segment_bytes=lambda c: c.segment_bytes + 1), LOST
    ),
    "segment offset 1 too small": (
        commit_with(segment_bytes=lambda c: c.segment_bytes - 1),
        r"is cut short|segment\.bin is damaged",
    ),
    "commit number not raised": (
        commit_with(number=lambda c: c.number - 1), "other events than commit"
    ),
    "row number 1 too small": (commit_with(next_row=lambda c: c.next_row - 1), "two documents"),
    "row number forgotten": (commit_with(next_row=lambda c: 0), "there is no index"),
    "tail not cut": (tail_not_cut, "not cut|fails its checksum"),
    "stale catalogue believed": (stale_catalogue_believed, "differs from the journal"),
    "catalogue before the commit": (catalogue_before_the_commit, "ahead of the commit"),
}  # fmt: skip
"""Each fault, and what the check says of it."""
WHERE = {"tail not cut": crashed_before}
"""Scenarios other than a first run, where the fault does not show in one."""


def run_and_check(scenario: Scenario, folder: Path) -> Tally:
    lab = Lab(folder)
    scenario(lab, 3)
    return check_every_crash(lab.recorder, lab.docs, folder / "scratch")


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_engine_is_caught(memory_folder: Path, fault: str) -> None:
    break_it, said = BROKEN[fault]
    scenario = WHERE.get(fault, first_run)
    with pytest.MonkeyPatch.context() as patch:
        break_it(patch)
        # By the check, or by the broken engine's own checksums while the scenario still runs.
        with pytest.raises((AssertionError, CorruptCheckpointError), match=said):
            run_and_check(scenario, memory_folder)


@pytest.mark.parametrize("scenario", [first_run, crashed_before])
def test_the_sound_engine_passes_the_same_check(memory_folder: Path, scenario: Scenario) -> None:
    assert run_and_check(scenario, memory_folder).raw > 100
