from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from lesson15.checkpoint import CheckpointManager, migrations
from lesson15.checkpoint.filesystem import AppendFile, OsFileSystem, replace_file
from lesson15.checkpoint.journal import JournalWriter, Position, check_end, read_journal
from lesson15.checkpoint.layout import BatchFolder, batch_lock, is_locked
from lesson15.checkpoint.segment import SegmentReader, SegmentWriter
from lesson15.checkpoint.state_files import Commit, decode, encode
from lesson15.errors import (
    BatchLockedError,
    BatchNotFoundError,
    CheckpointWriteError,
    CorruptCheckpointError,
    InvalidBatchIdError,
    SchemaTooNewError,
    StateReadError,
)
from lesson15.events import BlockRef, DocSettled, Event, Paused
from lesson15.models import BatchState, Chunk, DocStatus

FS = OsFileSystem()


def done(doc_id: str, **more: Any) -> DocSettled:
    return DocSettled(doc_id=doc_id, status=DocStatus.DONE, **more)


def write_journal(path: Path, count: int) -> list[Position]:
    writer = JournalWriter(FS, path, Position())
    ends = [writer.position]
    for number in range(count):
        writer.append(done(f"ü{number}"))
        ends.append(writer.position)
    writer.write(writer.take())
    writer.write(writer.take())  # with nothing to write
    writer.close()
    return ends


def ids(entries: Iterable[tuple[Position, Event]]) -> list[str]:
    return [event.doc_id for _, event in entries if isinstance(event, DocSettled)]


def test_journal_reads_back_any_stretch(tmp_path: Path) -> None:
    ends = write_journal(tmp_path / "j", 4)
    assert ids(read_journal(tmp_path / "j")) == ["ü0", "ü1", "ü2", "ü3"]
    assert ids(read_journal(tmp_path / "j", ends[1], ends[3])) == ["ü1", "ü2"]
    assert [end for end, _ in read_journal(tmp_path / "j")] == ends[1:]
    assert not list(read_journal(tmp_path / "j", ends[2], ends[2]))


def test_journal_continues_the_chain(tmp_path: Path) -> None:
    end = write_journal(tmp_path / "j", 2)[-1]
    writer = JournalWriter(FS, tmp_path / "j", end)
    writer.append(Paused(3.0))
    writer.write(writer.take())
    writer.close()
    *_, (last, event) = entries = list(read_journal(tmp_path / "j", stop=writer.position))
    assert (len(entries), last, event) == (3, writer.position, Paused(3.0))


@pytest.mark.parametrize("damage", ["flip", "swap", "cut", "drop", "grow"])
def test_journal_finds_damage(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "j"
    end = write_journal(path, 4)[-1]
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "flip":
        lines[1] = lines[1].replace(b"doc", b"dob")
    elif damage == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    elif damage == "cut":
        lines[3] = lines[3][:-3]
    elif damage == "drop":
        del lines[3]
    path.write_bytes(b"".join(lines))
    if damage == "grow":
        end = Position(end.offset - 1, end.crc)
    with pytest.raises(CorruptCheckpointError):
        list(read_journal(path, stop=end))


def test_the_end_of_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "j"
    ends = write_journal(path, 3)
    check_end(path, Position())
    for end in ends[1:]:
        check_end(path, end)
    with pytest.raises(CorruptCheckpointError, match="no record with the committed checksum"):
        check_end(path, Position(ends[2].offset, ends[1].crc))
    with pytest.raises(CorruptCheckpointError, match="no record"):
        check_end(path, Position(ends[2].offset - 1, ends[2].crc))
    with pytest.raises(CorruptCheckpointError, match="data was lost"):
        check_end(path, Position(ends[3].offset + 1, ends[3].crc))
    with pytest.raises(StateReadError):
        check_end(tmp_path, ends[1])


def test_a_long_last_record_is_read_whole(tmp_path: Path) -> None:
    writer = JournalWriter(FS, tmp_path / "j", Position())
    writer.append(done("a"))
    writer.append(done("b", error="x" * 20_000, error_type="ValueError"))
    writer.write(writer.take())
    writer.close()
    check_end(tmp_path / "j", writer.position)


def test_missing_journal(tmp_path: Path) -> None:
    with pytest.raises(CorruptCheckpointError, match="missing"):
        list(read_journal(tmp_path / "none", stop=Position(10, 1)))


def test_segment_reads_back(tmp_path: Path) -> None:
    writer = SegmentWriter(FS, tmp_path / "s", 0)
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4)
    chunks = [
        Chunk("a"),
        Chunk("b", {"page": 2, "heading": ["x"]}),
        Chunk("ç", {}),
    ]
    first = writer.append(vectors, chunks)
    second = writer.append(vectors[:1] * 2, [Chunk("d", MappingProxyType({"span": [3, 4]}))])
    writer.write(writer.take())
    writer.close()
    with SegmentReader(tmp_path / "s") as reader:
        found, read = reader.read(first)
        assert read == chunks
        assert np.array_equal(found, vectors)
        assert reader.read(second)[1] == [Chunk("d", {"span": [3, 4]})]


def test_segment_writes_a_few_blocks_at_a_time(tmp_path: Path) -> None:
    """Joining all that waits would take its memory twice."""

    class Counting(OsFileSystem):
        def open_append(self, path: Path) -> AppendFile:
            file = super().open_append(path)
            write = file.write
            file.write = lambda data: sizes.append(len(data)) or write(data)  # type: ignore[method-assign, func-returns-value]
            return file

    sizes: list[int] = []
    writer = SegmentWriter(Counting(), tmp_path / "s", 0)
    for _ in range(30):
        writer.append(np.ones((300, 384), np.float32), [Chunk("x")] * 300)
    assert (writer.waiting_bytes, (tmp_path / "s").stat().st_size) == (writer.offset, 0)
    blocks = writer.take()
    assert (writer.waiting_bytes, writer.take()) == (0, [])
    writer.write(blocks)
    writer.close()
    assert sum(sizes) == (tmp_path / "s").stat().st_size == writer.offset
    assert max(sizes) < 4 * 1024 * 1024 + len(blocks[0])
    assert len(sizes) >= 3


@pytest.mark.parametrize("damage", ["flip", "magic", "cut", "missing", "sizes"])
def test_segment_finds_damage(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "s"
    writer = SegmentWriter(FS, path, 0)
    ref = writer.append(np.ones((1, 4), np.float32), [Chunk("text")])
    writer.write(writer.take())
    writer.close()
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-3] ^= 1
    elif damage == "magic":
        data[0] ^= 1
    elif damage == "cut":
        del data[-1]
    path.write_bytes(data)
    if damage == "missing":
        path.unlink()
    if damage == "sizes":
        import struct
        import zlib

        body = data[8:20].replace(struct.pack("<I", 4), struct.pack("<I", 5), 1) + data[20:]
        crc = zlib.crc32(body)
        path.write_bytes(data[:4] + struct.pack("<I", crc) + body)
        ref = BlockRef(ref.offset, ref.length, crc)
    with SegmentReader(path) as reader, pytest.raises(CorruptCheckpointError):
        reader.read(ref)


async def test_manager_saves_loads_and_lists(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    assert CheckpointManager(tmp_path / "none").list_checkpoints() == []
    state = BatchState("b", total_docs=3, processed_docs=1)
    manager.write(state, Commit(number=7))
    state.processed_docs = 2
    await manager.save_checkpoint(state)  # keeps the commit
    loaded = await manager.load_checkpoint("b")
    assert loaded == state
    assert loaded.last_checkpoint
    batch = manager.open("b")
    assert (batch.batch_id, batch.state, batch.commit.number) == ("b", state, 7)
    assert manager.list_checkpoints() == ["b"]
    text = (tmp_path / "b" / "checkpoint.json").read_text()
    assert json.loads(text)["state"]["processed_docs"] == 2
    assert len(text) < 1000


async def test_manager_names_what_is_missing(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    with pytest.raises(BatchNotFoundError, match="lesson15 list"):
        manager.open("b")
    assert isinstance(manager.try_open("b"), BatchNotFoundError)
    assert await manager.load_checkpoint("b") is None


async def test_a_lost_or_foreign_document_is_not_taken_for_no_batch(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    for batch_id in ("b", "other"):
        await manager.save_checkpoint(BatchState(batch_id))
    batch = manager.open("b")
    with pytest.raises(CorruptCheckpointError, match=r"manifest.json is damaged .*missing"):
        assert batch.manifest
    folder = manager.folder("b")
    folder.checkpoint.write_bytes(manager.folder("other").checkpoint.read_bytes())
    with pytest.raises(CorruptCheckpointError, match="belongs to the batch 'other'"):
        manager.open("b")
    folder.checkpoint.unlink()
    folder.journal.touch()
    assert manager.list_checkpoints() == ["b", "other"]
    with pytest.raises(CorruptCheckpointError, match="missing"):
        manager.open("b")
    with pytest.raises(CorruptCheckpointError, match="missing"):
        await manager.load_checkpoint("b")


def test_a_state_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StateReadError, match="loop"):
        CheckpointManager(tmp_path / "loop", makes_folder=False).list_checkpoints()
    (tmp_path / "file").touch()
    assert CheckpointManager(tmp_path / "file", makes_folder=False).list_checkpoints() == []


@pytest.mark.parametrize("batch_id", ["", "..", "a/b", ".hidden", "x" * 101, "a b", "a\n"])
def test_unsafe_batch_ids_are_refused(tmp_path: Path, batch_id: str) -> None:
    with pytest.raises(InvalidBatchIdError):
        BatchFolder.of(tmp_path, batch_id)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"schema_version": 1, "checksum": "00000000"}'],
)
async def test_damaged_checkpoints_are_named(tmp_path: Path, content: bytes) -> None:
    manager = CheckpointManager(tmp_path)
    await manager.save_checkpoint(BatchState("b"))
    (tmp_path / "b" / "checkpoint.json").write_bytes(content)
    with pytest.raises(CorruptCheckpointError):
        await manager.load_checkpoint("b")
    with pytest.raises(CorruptCheckpointError):
        manager.open("b")
    assert isinstance(manager.try_open("b"), CorruptCheckpointError)


def test_sound_checksum_but_unexpected_content(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "checkpoint.json").write_bytes(encode({"state": {}, "commit": {}}))
    with pytest.raises(CorruptCheckpointError, match=r"checkpoint\.json .*unexpected content"):
        manager.open("b")
    manager.write(BatchState("b"), Commit())
    for content in ({"manifest": {"x": 1}}, {"manifest": {"x": 1}, "encryption": None}):
        (tmp_path / "b" / "manifest.json").write_bytes(encode(content))
        batch = manager.open("b")
        with pytest.raises(CorruptCheckpointError, match=r"manifest\.json .*unexpected content"):
            assert batch.manifest


@pytest.mark.parametrize("version", [migrations.SCHEMA_VERSION + 1, 99, 0, "1"])
def test_schema_versions(tmp_path: Path, version: object) -> None:
    data = encode({"schema_version": version, "state": {}})  # in place of the current one
    assert json.loads(data)["schema_version"] == version
    expected = (
        SchemaTooNewError
        if version in (migrations.SCHEMA_VERSION + 1, 99)
        else CorruptCheckpointError
    )
    with pytest.raises(expected, match=r"c\.json"):
        decode(data, tmp_path / "c.json")


def test_migrations_run_one_version_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(migrations.MIGRATIONS, 1, lambda d: {**d, "new": d["old"]})
    monkeypatch.setitem(migrations.MIGRATIONS, 2, lambda d: {**d, "newer": d["new"] + 1})
    lifted = migrations.migrate({"schema_version": 1, "old": 5}, Path("x"), target=3)
    assert lifted == {"schema_version": 3, "old": 5, "new": 5, "newer": 6}


def test_unreadable_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "b" / "checkpoint.json").mkdir(parents=True)
    with pytest.raises(StateReadError, match=r"checkpoint\.json"):
        CheckpointManager(tmp_path).open("b")


class RefusingFileSystem(OsFileSystem):
    def create(self, path: Path) -> AppendFile:
        raise OSError(28, "No space left on device")


async def test_disk_full_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    await CheckpointManager(tmp_path).save_checkpoint(BatchState("b", processed_docs=1))
    manager = CheckpointManager(tmp_path, RefusingFileSystem())
    state = BatchState("b", processed_docs=2)
    with pytest.raises(CheckpointWriteError, match="No space left"):
        await manager.save_checkpoint(state)
    assert state.last_checkpoint is None
    assert manager.open("b").state.processed_docs == 1


def test_lock_keeps_others_out(tmp_path: Path) -> None:
    folder = BatchFolder.of(tmp_path, "b")
    folder.root.mkdir()
    assert not is_locked(folder)
    with batch_lock(folder):
        assert is_locked(folder)
        with pytest.raises(BatchLockedError, match=f"pid {os.getpid()}"), batch_lock(folder):
            pass
        folder.owner.unlink()
        with pytest.raises(BatchLockedError, match="owner unknown"), batch_lock(folder):
            pass
    assert not is_locked(folder)


def test_lock_in_a_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("a file, not a folder")
    with pytest.raises(CheckpointWriteError), batch_lock(BatchFolder.of(tmp_path, "b")):
        pass


def test_filesystem_folders_and_leftovers(tmp_path: Path) -> None:
    FS.make_folder(tmp_path / "a" / "b")
    FS.make_folder(tmp_path / "a" / "b")
    target = tmp_path / "a" / "b" / "file"
    target.with_name("file.tmp").write_text("left by a crash, longer than the new content")
    replace_file(FS, target, b"new")
    assert target.read_bytes() == b"new"
    FS.truncate(target, 1)
    assert target.read_bytes() == b"n"
