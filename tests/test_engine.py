from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lesson15
from lesson15 import BatchProcessor, CheckpointManager, Searcher, verify
from lesson15.checkpoint.filesystem import AppendFile, OsFileSystem
from lesson15.checkpoint.layout import is_locked
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.embedding import HashingEmbedder
from lesson15.engine.feed import Naming
from lesson15.engine.work import DocumentOutcome, SourceDocument, check_vectors
from lesson15.errors import (
    BatchExistsError,
    BatchLockedError,
    BatchNotFoundError,
    CatalogError,
    CheckpointWriteError,
    CorruptCheckpointError,
    InvalidResultError,
    SettingsMismatchError,
    SourcesMissingError,
    StorageError,
    UsageError,
)
from lesson15.events import DocSettled, DocStarted, Event, LimitChanged
from lesson15.models import BatchStatus, DocStatus
from lesson15.settings import Settings
from lesson15.stores.catalog import Catalog

Make = Callable[..., BatchProcessor]


async def test_a_batch_from_start_to_search(docs: Path, state: Path, make: Make) -> None:
    report = await make().process_batch([docs], "b")
    assert report["status"] == "finished"
    assert (report["total_docs"], report["processed_docs"], report["failed_docs"]) == (12, 10, 2)
    assert {Path(f["doc_id"]).name: f["attempts"] for f in report["failures"]} == {
        "broken.json": 2,
        "empty.txt": 1,  # refused for what it is: another attempt would end the same way
    }
    result = verify("b", state)
    assert result.is_clean, result.faults
    assert (result.documents, result.chunks, result.index) == (12, report["chunks"], "current")
    searcher = Searcher("b", state)
    hits = searcher.search("subject 111", 3)
    assert len(hits) == 3
    assert Path(hits[0].doc_id).name == "d3.txt"
    assert "subject 111" in hits[0].text
    for query, k in (("  ", 3), ("x", 0)):
        with pytest.raises(UsageError):
            searcher.search(query, k)
    searcher.close()


async def test_chroma_comes_to_the_same(docs: Path, state: Path, make: Make) -> None:
    await make(store="chroma").process_batch([docs], "c")
    await make().process_batch([docs], "f")
    assert verify("c", state).is_clean
    found = [
        [hit.doc_id for hit in Searcher(batch, state).search("subject 74", 1)] for batch in "cf"
    ]
    assert found[0] == found[1]


async def test_resume_of_a_finished_batch_changes_nothing(
    docs: Path, state: Path, make: Make
) -> None:
    first = await make().process_batch([docs], "b")
    before = {path.name: path.read_bytes() for path in (state / "b").iterdir()}
    second = await make(embedder=None).resume_batch("b")
    after = {path.name: path.read_bytes() for path in (state / "b").iterdir()}
    assert first.pop("run")["new"] == 10
    assert second.pop("run")["unchanged"] == 12
    assert first == second
    for name in ("journal.log", "segment.bin", "checkpoint.json", "index.faiss"):
        assert before[name] == after[name]


async def test_resume_sees_changed_new_touched_and_vanished_files(
    docs: Path, state: Path, make: Make
) -> None:
    await make().process_batch([docs], "b")
    (docs / "d1.txt").write_text("now about volcanoes " * 40)
    (docs / "d2.txt").unlink()
    os.utime(docs / "d3.txt")
    (docs / "new.txt").write_text("brand new words")
    (docs / "empty.txt").write_text("no longer empty")
    (docs / "broken.json").unlink()
    started: list[str] = []
    processor = make()
    processor.listeners.append(
        lambda event: (
            started.append(Path(event.doc_id).name) if isinstance(event, DocStarted) else None
        )
    )
    report = await processor.process_batch([docs], "b", resume=True)
    assert sorted(started) == ["d1.txt", "d3.txt", "empty.txt", "new.txt"]
    assert (report["total_docs"], report["processed_docs"], report["failed_docs"]) == (11, 11, 0)
    assert verify("b", state).is_clean
    searcher = Searcher("b", state)
    assert Path(searcher.search("volcanoes", 1)[0].doc_id).name == "d1.txt"
    assert all("d2.txt" not in hit.doc_id for hit in searcher.search("subject 74", 50))
    searcher.close()


async def test_everything_vanished(docs: Path, state: Path, make: Make) -> None:
    await make().process_batch([docs], "b")
    for path in docs.iterdir():
        path.unlink()
    with pytest.raises(SourcesMissingError, match="all of 10 documents"):
        await make(interval=1).resume_batch("b")
    assert CheckpointManager(state).open("b").state.processed_docs == 10
    report = await make(interval=1).resume_batch("b", prune=True)
    assert (report["total_docs"], report["chunks"]) == (0, 0)
    assert verify("b", state).is_clean


async def test_retry_failed(docs: Path, state: Path, make: Make) -> None:
    await make().process_batch([docs, docs / "absent.txt"], "b")
    (docs / "broken.json").write_text('{"a": "mended"}')
    (docs / "absent.txt").write_text("here after all")
    report = await make().retry_failed("b")
    assert (report["processed_docs"], report["failed_docs"], report["skipped_docs"]) == (12, 1, 0)
    assert verify("b", state).is_clean


@pytest.mark.parametrize("lost", ["checkpoint.json", "manifest.json"])
async def test_a_new_batch_does_not_begin_over_a_damaged_one(
    docs: Path, state: Path, make: Make, lost: str
) -> None:
    await make().process_batch([docs], "b")
    journal = (state / "b" / "journal.log").read_bytes()
    (state / "b" / lost).unlink()
    with pytest.raises(BatchExistsError):
        await make().process_batch([docs], "b")
    with pytest.raises(CorruptCheckpointError, match=f"{lost} is damaged"):
        await make().resume_batch("b")
    assert (state / "b" / "journal.log").read_bytes() == journal


async def test_a_foreign_segment_is_found_at_once(docs: Path, state: Path, make: Make) -> None:
    await make().process_batch([docs], "b")
    segment = state / "b" / "segment.bin"
    segment.write_bytes(bytes(segment.stat().st_size))
    with pytest.raises(CorruptCheckpointError, match=r"segment\.bin"):
        await make().resume_batch("b")


async def test_a_catalog_that_fails_closes_the_log(docs: Path, state: Path, make: Make) -> None:
    await make().process_batch([docs], "b")
    (state / "b" / "catalog.sqlite").unlink()
    (state / "b" / "catalog.sqlite").mkdir()
    with pytest.raises(CatalogError):
        await make().resume_batch("b")
    (state / "b" / "catalog.sqlite").rmdir()
    await make().resume_batch("b")
    assert verify("b", state).is_clean


async def test_retry_of_a_failed_document_that_is_gone(docs: Path, state: Path, make: Make) -> None:
    await make().process_batch([docs], "b")
    (docs / "broken.json").unlink()
    report = await make().retry_failed("b")
    assert (report["total_docs"], report["failed_docs"], report["skipped_docs"]) == (11, 1, 0)
    assert verify("b", state).is_clean


async def test_missing_files_are_skipped(docs: Path, make: Make) -> None:
    report = await make().process_batch([docs / "d0.txt", docs / "absent.txt"], "b")
    assert (report["processed_docs"], report["failed_docs"], report["skipped_docs"]) == (1, 0, 1)
    assert "no such file" in report["failures"][0]["error"]
    assert report["failures"][0]["attempts"] == 1


async def test_duplicates_are_done_once(docs: Path, state: Path, make: Make) -> None:
    here = os.path.relpath(docs)
    report = await make().process_batch([docs, docs / "d1.txt", here, docs / "." / "d1.txt"], "b")
    assert report["total_docs"] == 12
    assert verify("b", state).is_clean


async def test_file_names_that_are_not_utf8(docs: Path, state: Path, make: Make) -> None:
    (docs / os.fsdecode(b"caf\xe9.txt")).write_text("espresso and words")
    (docs / os.fsdecode(b"th\xe9.txt")).touch()
    (docs / "café.txt").write_text("words")
    report = await make().process_batch([docs], "b")
    assert (report["processed_docs"], report["failed_docs"]) == (12, 3)
    failure = next(f for f in report["failures"] if f["doc_id"].endswith("th%E9.txt"))
    assert "th\\udce9.txt: the file is empty" in failure["error"]
    hit = Searcher("b", state).search("espresso", 1)[0]
    assert hit.doc_id.startswith("//")
    assert hit.doc_id.endswith("caf%E9.txt")
    (docs / os.fsdecode(b"th\xe9.txt")).write_text("no longer empty")
    assert (await make().retry_failed("b"))["processed_docs"] == 13
    assert verify("b", state).is_clean


async def test_a_folder_that_cannot_be_listed(
    docs: Path, state: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = docs / "closed"
    closed.mkdir()
    (closed / "inside.txt").write_text("words")
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing)
        report = await make().process_batch([docs], "b")
    assert (report["processed_docs"], report["failed_docs"]) == (10, 3)
    assert any(failure["doc_id"].endswith("closed") for failure in report["failures"])
    report = await make().process_batch([docs], "b", resume=True)
    assert (report["processed_docs"], report["failed_docs"]) == (11, 2)
    assert verify("b", state).is_clean


async def test_one_path_and_a_generated_id(docs: Path, make: Make) -> None:
    report = await make().process_batch(str(docs / "d0.txt"))
    assert report["processed_docs"] == 1
    assert report["batch_id"].startswith("batch-")


async def test_usage_errors(docs: Path, make: Make) -> None:
    await make().process_batch([docs], "b")
    with pytest.raises(BatchExistsError):
        await make().process_batch([docs], "b")
    with pytest.raises(BatchNotFoundError):
        await make().process_batch([docs], "other", resume=True)
    with pytest.raises(UsageError, match="batch_id"):
        await make().process_batch([docs], resume=True)
    with pytest.raises(SettingsMismatchError, match="hashing"):
        await make(embedder="minilm").resume_batch("b")
    with pytest.raises(SettingsMismatchError):
        await make(store="chroma").resume_batch("b")
    with pytest.raises(UsageError, match="max_concurrent=0"):
        make(max_concurrent=0)
    with pytest.raises(UsageError, match="not active"):
        make().pause("b")


async def no_op(document: SourceDocument) -> DocumentOutcome:
    return DocumentOutcome()


async def test_other_work_over_a_stream(state: Path, make: Make) -> None:
    names = (f"doc{number % 600}" for number in range(1000))  # 400 of them come twice
    report = await make(work=no_op).process_batch(names, "b")
    assert report["total_docs"] == report["processed_docs"] == 600
    assert verify("b", state).is_clean
    with pytest.raises(UsageError, match="stream"):
        await make(work=no_op).resume_batch("b")


async def test_work_is_bounded_and_streams(make: Make) -> None:
    busy = most_busy = handed_out = most_ahead = done = 0

    def names() -> Iterator[str]:
        nonlocal handed_out, most_ahead
        for number in range(2000):
            handed_out += 1
            most_ahead = max(most_ahead, handed_out - done)
            yield f"doc{number}"

    async def work(document: SourceDocument) -> DocumentOutcome:
        nonlocal busy, most_busy, done
        busy += 1
        most_busy = max(most_busy, busy)
        await asyncio.sleep(0)
        busy -= 1
        done += 1
        return DocumentOutcome()

    await make(max_concurrent=7, interval=100, work=work).process_batch(names(), "b")
    assert most_busy == 7
    assert most_ahead <= 2 * 256 + 7  # never the whole source at once


async def wait_for(condition: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


class Gate:
    """Work that waits to be let through, one permit a document."""

    def __init__(self) -> None:
        self.permits = asyncio.Semaphore(0)
        self.started: list[str] = []

    def open(self, count: int) -> None:
        for _ in range(count):
            self.permits.release()

    async def __call__(self, document: SourceDocument) -> DocumentOutcome:
        self.started.append(document.doc_id)
        await self.permits.acquire()
        return DocumentOutcome()


async def test_pause_and_unpause(state: Path, make: Make) -> None:
    gate = Gate()
    processor = make(max_concurrent=2, interval=5, work=gate)
    batch = asyncio.create_task(processor.process_batch([f"d{n}" for n in range(20)], "b"))
    await wait_for(lambda: len(gate.started) == 2)
    assert list(processor.active_batches) == ["b"]
    assert processor.progress("b") is not None
    assert processor.progress("other") is None
    processor.pause()
    gate.open(20)
    await wait_for(lambda: CheckpointManager(state).open("b").state.processed_docs == 2)
    await asyncio.sleep(0.05)
    assert len(gate.started) == 2
    assert CheckpointManager(state).open("b").state.status is BatchStatus.PAUSED
    processor.unpause("b")
    report = await batch
    assert report["processed_docs"] == 20
    assert report["status"] == "finished"
    assert processor.active_batches == {}


async def test_cancel_keeps_what_is_settled(state: Path, make: Make) -> None:
    gate = Gate()
    processor = make(max_concurrent=3, interval=100, work=gate)
    names = [f"d{n}" for n in range(20)]
    batch = asyncio.create_task(processor.process_batch(names, "b"))
    await wait_for(lambda: len(gate.started) == 3)
    gate.open(4)
    await wait_for(lambda: len(gate.started) == 7)
    thread = threading.Thread(target=processor.cancel)  # from another thread, as a widget does
    thread.start()
    report = await batch
    thread.join()
    assert report["status"] == "cancelled"
    assert report["processed_docs"] == 4
    gate.open(100)
    resumed = make(max_concurrent=3, work=gate)
    again = await resumed.process_batch(names, "b", resume=True)
    assert again["processed_docs"] == 20
    assert len(gate.started) == 7 + 16
    assert verify("b", state).is_clean


async def test_cancelling_the_caller_commits_too(state: Path, make: Make) -> None:
    gate = Gate()
    processor = make(max_concurrent=2, interval=100, work=gate)
    batch = asyncio.create_task(processor.process_batch([f"d{n}" for n in range(9)], "b"))
    await wait_for(lambda: len(gate.started) == 2)
    gate.open(3)
    await wait_for(lambda: len(gate.started) == 5)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    saved = CheckpointManager(state).open("b").state
    assert (saved.processed_docs, saved.status) == (3, BatchStatus.CANCELLED)


async def test_a_second_processor_is_refused(make: Make) -> None:
    gate = Gate()
    batch = asyncio.create_task(make(work=gate).process_batch(["d"], "b"))
    await wait_for(lambda: gate.started)
    with pytest.raises(BatchLockedError, match="pid"):
        await make(work=gate).process_batch(["d"], "b", resume=True)
    gate.open(1)
    await batch


async def test_retry_then_success_counts_attempts(make: Make) -> None:
    calls: dict[str, int] = {}

    async def work(document: SourceDocument) -> DocumentOutcome:
        calls[document.doc_id] = calls.get(document.doc_id, 0) + 1
        if document.doc_id == "flaky" and calls["flaky"] < 3:
            raise ConnectionResetError
        if document.doc_id == "hopeless":
            raise TimeoutError
        if document.doc_id == "odd":
            raise RuntimeError
        return DocumentOutcome()

    events: list[Event] = []
    processor = make(work=work)
    processor.listeners.append(events.append)
    report = await processor.process_batch(["flaky", "fine", "hopeless", "odd"], "b")
    assert report["processed_docs"] == 2
    assert calls == {"flaky": 3, "fine": 1, "hopeless": 4, "odd": 2}
    settled = [event for event in events if isinstance(event, DocSettled)]
    attempts = {event.doc_id: event.attempts for event in settled}
    assert attempts == {"flaky": 3, "fine": 1, "hopeless": 4, "odd": 2}
    assert {failure["error"] for failure in report["failures"]} == {"TimeoutError", "RuntimeError"}


async def test_a_full_disk_under_other_work_aborts_by_name(make: Make) -> None:
    async def work(document: SourceDocument) -> DocumentOutcome:
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match=r"d1: .*No space left"):
        await make(work=work).process_batch(["d1"], "b")


async def test_out_of_memory_lowers_concurrency(make: Make) -> None:
    failed = False

    async def work(document: SourceDocument) -> DocumentOutcome:
        nonlocal failed
        if not failed:
            failed = True
            raise MemoryError
        return DocumentOutcome()

    limits: list[int] = []
    processor = make(max_concurrent=8, work=work)
    processor.listeners.append(
        lambda event: limits.append(event.limit) if isinstance(event, LimitChanged) else None
    )
    report = await processor.process_batch([f"d{n}" for n in range(100)], "b")
    assert limits[0] == 4
    assert report["processed_docs"] == 100


async def test_the_end_reaches_workers_that_a_low_limit_keeps_waiting(make: Make) -> None:
    is_low = asyncio.Event()

    async def work(document: SourceDocument) -> DocumentOutcome:
        if document.doc_id == "hopeless":
            raise MemoryError
        await is_low.wait()
        return DocumentOutcome()

    def look(event: Event) -> None:
        if isinstance(event, LimitChanged) and event.limit == 1:
            is_low.set()

    processor = make(max_concurrent=4, work=work)
    processor.listeners.append(look)
    batch = processor.process_batch(["d0", "d1", "d2", "hopeless"], "b")
    report = await asyncio.wait_for(batch, 20)
    assert (report["processed_docs"], report["failed_docs"]) == (3, 1)


async def test_a_failing_listener_does_no_harm(make: Make) -> None:
    processor = make(work=no_op)
    processor.listeners.append(lambda record: 1 / 0)
    assert (await processor.process_batch(["a"], "b"))["processed_docs"] == 1


class FillingDisk(OsFileSystem):
    """Refuses to write after a number of bytes, as a full disk does."""

    def __init__(self, capacity: int) -> None:
        self.left = capacity

    def open_append(self, path: Path) -> AppendFile:
        file = super().open_append(path)
        write = file.write

        def limited(data: bytes) -> None:
            part = data[: self.left]
            self.left -= len(part)
            write(part)
            if len(part) < len(data):
                raise OSError(28, "No space left on device")

        file.write = limited  # type: ignore[method-assign]
        return file


async def test_a_full_disk_aborts_and_resumes(docs: Path, state: Path, make: Make) -> None:
    with pytest.raises(CheckpointWriteError, match="No space left"):
        await make(fs=FillingDisk(20_000)).process_batch([docs], "b")
    saved = CheckpointManager(state).open("b").state
    assert 0 < saved.processed_docs < 10
    interrupted = verify("b", state)
    assert interrupted.is_clean, interrupted.faults
    report = await make().resume_batch("b")
    assert report["processed_docs"] == 10
    assert verify("b", state).is_clean


async def test_no_room_for_the_batch_at_all(docs: Path, tmp_path: Path, make: Make) -> None:
    (tmp_path / "occupied").write_text("a file")
    with pytest.raises(CheckpointWriteError):
        await make(state_dir=tmp_path / "occupied").process_batch([docs], "b")


class WrongEmbedder(HashingEmbedder):
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return super().embed(texts) * np.float32(0.5)


async def test_invalid_vectors_are_refused(docs: Path, state: Path, make: Make) -> None:
    report = await make(embedder=WrongEmbedder()).process_batch([docs / "d1.txt"], "b")
    assert report["failed_docs"] == 1
    assert "not of length 1" in report["failures"][0]["error"]
    with pytest.raises(InvalidResultError, match="shape"):
        check_vectors("x", np.ones((2, 3), np.float32), 3, 3)
    assert verify("b", state).index == "empty"


async def test_search_while_the_batch_runs(docs: Path, state: Path, make: Make) -> None:
    embedder = HashingEmbedder()
    stop = threading.Event()

    class Stalling(HashingEmbedder):
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            if any("Document 9" in text for text in texts):
                stop.wait(20)
            return embedder.embed(texts)

    processor = make(embedder=Stalling(), max_concurrent=1, interval=2)
    batch = asyncio.create_task(processor.process_batch(sorted(docs.glob("d*.txt")), "b"))
    await wait_for(lambda: (state / "b" / "checkpoint.json").exists())
    await wait_for(lambda: CheckpointManager(state).open("b").state.processed_docs >= 8)
    searcher = await asyncio.to_thread(Searcher, "b", state)
    assert Path(searcher.search("subject 111", 1)[0].doc_id).name == "d3.txt"
    searcher.close()
    stop.set()
    assert (await batch)["processed_docs"] == 10


async def test_search_rebuilds_a_lost_index(docs: Path, state: Path, make: Make) -> None:
    await make().process_batch([docs], "b")
    (state / "b" / "index.faiss").unlink()
    (state / "b" / "catalog.sqlite").unlink()
    assert not verify("b", state).is_clean
    searcher = Searcher("b", state)
    assert searcher.search("subject 111", 1)
    searcher.close()
    assert verify("b", state).is_clean
    with pytest.raises(BatchNotFoundError):
        Searcher("nope", state)


async def test_resume_rebuilds_a_lost_index(docs: Path, state: Path, make: Make) -> None:
    await make().process_batch([docs], "b")
    (state / "b" / "index.faiss").unlink()
    await make().resume_batch("b")
    assert verify("b", state).is_clean


@pytest.mark.parametrize("victim", ["journal.log", "segment.bin", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["flip", "cut"])
async def test_verify_finds_damage(
    docs: Path, state: Path, make: Make, victim: str, damage: str
) -> None:
    await make().process_batch([docs], "b")
    path = state / "b" / victim
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 4
    else:
        del data[-5:]
    path.write_bytes(data)
    assert not verify("b", state).is_clean


async def test_verify_finds_a_wrong_index(docs: Path, state: Path, make: Make) -> None:
    from lesson15.stores import open_store

    await make().process_batch([docs], "b")
    store = open_store("faiss", state / "b" / "index", 256)
    tag = store.load()
    assert tag is not None
    wrong = HashingEmbedder().embed(["wrong"])
    store.remove(np.array([0, 1]))
    store.add(np.array([1, 2, 999]), np.concatenate([wrong] * 3))
    store.save(tag)
    faults = " ".join(verify("b", state).faults)
    for expected in ("missing", "double", "belong to no document", "another vector"):
        assert expected in faults


async def test_verify_finds_a_wrong_count(docs: Path, state: Path, make: Make) -> None:
    await make().process_batch([docs], "b")
    manager = CheckpointManager(state)
    saved = await manager.load_checkpoint("b")
    assert saved is not None
    saved.processed_docs += 1
    saved.total_docs += 5
    await manager.save_checkpoint(saved)
    faults = " ".join(verify("b", state).faults)
    assert "processed_docs is 11" in faults
    assert "should be done" in faults
    assert "of 17 documents" in faults


def test_run_is_synchronous(docs: Path, state: Path) -> None:
    options: dict[str, Any] = {"state_dir": state, "embedder": "hashing"}
    assert lesson15.run([docs / "d0.txt"], "b", **options)["processed_docs"] == 1
    with pytest.raises(BatchExistsError):
        lesson15.run([docs / "d0.txt"], "b", **options)


async def test_run_inside_a_running_loop(docs: Path, state: Path) -> None:
    options: dict[str, Any] = {"state_dir": state, "embedder": "hashing"}
    assert lesson15.run([docs / "d0.txt"], "b", **options)["processed_docs"] == 1
    with pytest.raises(BatchExistsError):
        lesson15.run([docs / "d0.txt"], "b", **options)


async def test_resume_from_another_folder(
    docs: Path, state: Path, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(docs.parent)
    await make().process_batch(["docs"], "b")
    row_ids = {failure["doc_id"] for failure in (await make().resume_batch("b"))["failures"]}
    assert row_ids == {"docs/broken.json", "docs/empty.txt"}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (docs / "new.txt").write_text("new")
    report = await make().resume_batch("b")
    assert report["total_docs"] == 13
    assert {failure["doc_id"] for failure in report["failures"]} == row_ids


async def test_cancelled_before_its_work_begins(docs: Path, state: Path, make: Make) -> None:
    processor = make()
    processor.writer_callbacks.append(lambda _writer: processor.cancel("b"))
    report = await processor.process_batch([docs], "b")
    assert (report["status"], report["processed_docs"]) == ("cancelled", 0)
    processor.writer_callbacks.clear()
    assert (await processor.resume_batch("b"))["processed_docs"] == 10
    with pytest.raises(UsageError, match="not active"):
        processor.cancel("b")


async def test_the_lock_is_held_until_the_opening_has_ended(
    docs: Path, state: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make().process_batch([docs], "b")
    begun, go_on = threading.Event(), threading.Event()
    recover = Catalog.recover

    def slow(batch: StoredBatch) -> Catalog:
        begun.set()
        assert go_on.wait(300)
        return recover(batch)

    monkeypatch.setattr(Catalog, "recover", slow)
    resume = asyncio.create_task(make().resume_batch("b"))
    assert await asyncio.to_thread(begun.wait, 300)
    resume.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    folder = CheckpointManager(state).folder("b")
    assert not resume.done()
    assert is_locked(folder)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await resume
    assert not is_locked(folder)
    monkeypatch.undo()
    assert (await make().resume_batch("b"))["processed_docs"] == 10


def test_names_of_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    naming = Naming(str(tmp_path))
    for given in ("a/b.txt", "./a/b.txt", "a//b.txt", "a/../a/b.txt", tmp_path / "a" / "b.txt"):
        assert naming.doc_id(given) == "a/b.txt"
    assert naming.doc_id("/else/x.txt") == naming.doc_id("//else/x.txt") == "/else/x.txt"
    latin = os.fsdecode(b"a/caf\xe9 1.txt")
    assert naming.doc_id(latin) == "//a/caf%E9%201.txt"
    assert naming.path(naming.doc_id(latin)) == str(tmp_path / latin)
    assert naming.path("a/b.txt") == str(tmp_path / "a" / "b.txt")


def test_public_names() -> None:
    for name in lesson15.__all__:
        assert getattr(lesson15, name)
    with pytest.raises(AttributeError):
        lesson15.nothing  # noqa: B018
    assert DocStatus.DONE == "done"
    assert Settings().max_concurrent == 10
