"""Bring a disk up, recover and resume with the real engine, and compare with the oracle."""

from __future__ import annotations

import hashlib
import shutil
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from lesson15.checkpoint.journal import read_journal
from lesson15.crashlab.disk import Content
from lesson15.engine.feed import file_fingerprint
from lesson15.engine.verify import verify
from lesson15.engine.writer import Writer
from lesson15.errors import BatchNotFoundError, Lesson15Error
from lesson15.events import DocRemoved, DocSettled, DocStarted, Event
from tests.crash import oracle
from tests.crash.engine import (
    BATCH,
    EMBEDDER,
    Commitment,
    InlineProcessor,
    Recorder,
    counts_of,
    drive,
)


def live_documents(events: list[Event]) -> dict[str, DocSettled]:
    """The last verdict on each document; other kinds of events are passed over."""
    live: dict[str, DocSettled] = {}
    for event in events:
        match event:
            case DocSettled(doc_id=doc_id):
                live[doc_id] = event
            case DocRemoved(doc_id=doc_id):
                del live[doc_id]
    return live


def check_recovered(writer: Writer, history: list[Commitment]) -> int:
    """Check that what was recovered is exactly one commit of ``history``; its number."""
    files = writer.files
    number = files.committed.number
    assert number < len(history), f"commit {number} was never begun"
    position = files.committed.position
    events = [event for _, event in read_journal(files.folder.journal, stop=position)]
    assert events == history[number].events, f"other events than commit {number} covers"
    assert counts_of(files.state) == history[number].counts
    assert files.folder.journal.stat().st_size == position.offset, "the journal's tail is not cut"
    live = live_documents(events)
    found = {row.doc_id: (row.status, row.chunks) for row in writer.catalog.scan()}
    expected = {doc_id: (event.status, event.chunks) for doc_id, event in live.items()}
    assert found == expected, "the catalogue differs from the journal"
    return number


def check_finished(state: Path, docs: Path, expected: oracle.Content) -> None:
    """Check that the batch is finished, sound, and what the oracle says of ``docs``."""
    result = verify(BATCH, state)
    assert result.is_clean, result.faults
    assert result.status == "finished"
    assert result.documents == len(expected.vectors) + len(expected.failures)
    assert oracle.indexed(state, BATCH) == expected, "the index differs from the oracle"


def resume_and_check(state: Path, docs: Path, recorder: Recorder, expected: oracle.Content) -> int:
    """Resume the batch in ``state`` to its end, with every check; the commit it recovered to."""
    recovered = -1
    settled: set[str] = set()
    started: set[str] = set()

    def look(writer: Writer) -> None:
        nonlocal recovered
        recovered = check_recovered(writer, recorder.history)
        for doc_id, event in live_documents(recorder.history[recovered].events).items():
            if event.fingerprint == file_fingerprint(doc_id):
                settled.add(doc_id)

    processor = InlineProcessor(state, on_open=look)
    processor.listeners.append(
        lambda event: started.add(event.doc_id) if isinstance(event, DocStarted) else None
    )
    try:
        report = drive(processor.process_batch([docs], BATCH, resume=True))
    except BatchNotFoundError:
        assert recovered == -1
        report = drive(processor.process_batch([docs], BATCH))
        recovered = -1
    assert not started & settled, "committed work was done again"
    assert report["status"] == "finished"
    assert report["processed_docs"] == len(expected.vectors)
    assert report["failed_docs"] == len(expected.failures)
    assert {failure["doc_id"] for failure in report["failures"]} == expected.failures
    check_finished(state, docs, expected)
    return recovered


@dataclass
class Tally:
    """How many crash states were looked at: all, distinct disks, and distinct but for what is
    derived. Each disk's recovered commit is remembered, so that a disk is recovered once.
    """

    raw: int = 0
    recovered: dict[bytes, int] = field(default_factory=dict)
    primary: set[bytes] = field(default_factory=set)


def digest(content: Content) -> bytes:
    parts = (name.encode() + b"\0" + content[name] + b"\0" for name in sorted(content))
    return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


def put(content: Content, root: Path) -> None:
    """Make ``content`` all that the folder ``root`` holds."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name, data in content.items():
        (root / name).write_bytes(data)


def derived_choices(snapshots: list[Content]) -> list[Content]:
    """What may be left of the catalogue and the index: nothing, an older state, the last, the last
    with its log cut, and the index of one commit with the mark of another. The catalogue's seal,
    which is removed when it is opened and may come back in a power cut, is there or not.
    """
    last, older = snapshots[-1], snapshots[len(snapshots) // 2]
    wal = last.get("catalog.sqlite-wal", b"")
    torn = {**last, "catalog.sqlite-wal": wal[: len(wal) * 2 // 3]}
    if "index.faiss" in older:
        torn["index.faiss"] = older["index.faiss"]
    choices = ({}, last, _sealed(older), _sealed(last), _sealed(torn))
    return list({digest(choice): choice for choice in choices}.values())


def _sealed(snapshot: Content) -> Content:
    catalog = snapshot.get("catalog.sqlite")
    if catalog is None:
        return snapshot
    return {**snapshot, "catalog.sqlite.crc": b"%08x" % zlib.crc32(catalog)}


def check_every_crash(
    recorder: Recorder, docs: Path, scratch: Path, stride: int | None = None
) -> Tally:
    """Check each disk that a crash at any moment may leave.

    Raises:
        AssertionError: one does not recover, with how the disk looked.
    """
    expected = oracle.sequential(docs, EMBEDDER)
    recorder.before_step()  # and after the last operation
    tally = Tally()
    for at, moment in enumerate(recorder.moments):
        choices = derived_choices(recorder.snapshots[: moment.snapshots])
        for is_coarse, content in moment.disk.outcomes(stride):
            primary = digest(content)
            tally.primary.add(primary)
            for derived in choices if is_coarse else [choices[primary[0] % len(choices)]]:
                tally.raw += 1
                disk = {**derived, **content}
                key = digest(disk)
                if key not in tally.recovered:
                    put(disk, scratch / BATCH)
                    try:
                        tally.recovered[key] = resume_and_check(scratch, docs, recorder, expected)
                    except (AssertionError, Lesson15Error) as error:
                        sizes = {name: len(data) for name, data in disk.items()}
                        raise AssertionError(
                            f"crash before operation {at} of {len(recorder.moments)}, "
                            f"leaving {sizes}: {type(error).__name__}: {error}"
                        ) from error
                assert tally.recovered[key] >= moment.promised, (
                    f"crash before operation {at}: commit {moment.promised} was promised, "
                    f"{tally.recovered[key]} recovered"
                )
    return tally
