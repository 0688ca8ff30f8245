"""Batch processing with checkpoint and resume: the whole idea, in one short file.

A batch is a folder of two files. The *journal* gets a line for each document that is done; the
*checkpoint* says how many bytes of the journal count. Stopped at any instant, by a signal or by a
power cut, the batch goes on from its checkpoint: each outcome counts once, and none is lost.

    >>> from tempfile import TemporaryDirectory
    >>> home = TemporaryDirectory()
    >>> pages = [Path(home.name, "ant.txt"), Path(home.name, "bee.txt")]
    >>> _ = pages[0].write_text("All about the ant."), pages[1].write_text("All about the bee.")
    >>> def count_words(content: bytes) -> int:
    ...     print("counting:", content.decode())
    ...     if b"bee" in content and has_bad_luck:
    ...         raise SystemExit
    ...     return len(content.split())
    >>> batch, has_bad_luck = MiniBatch(Path(home.name, "batch")), True
    >>> batch.run(pages, count_words, commit_every=1)
    Traceback (most recent call last):
    SystemExit
    >>> has_bad_luck = False
    >>> [outcome.result for outcome in batch.run(pages, count_words).values()]
    counting: All about the bee.
    [4, 4]
    >>> home.cleanup()

The engine of this package is the same idea with concurrency, parsers, embeddings and an index to
search; its journal, commit and recovery are in ``lesson15/checkpoint``.
"""

# Each change of a file is a call of os or open that stands here, so that the crash tests see it:
# ruff: noqa: PTH102, PTH105, PTH123

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO


@dataclass(frozen=True)
class Outcome:
    """What came of a document: the result of the work, or the error if it raised an exception."""

    document: str
    content_hash: str
    result: Any
    error: str | None


class MiniBatch:
    """The batch in ``folder``; the first run creates the folder, whose parent must exist."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.journal, self.checkpoint = self.folder / "journal", self.folder / "checkpoint"

    def run(
        self, paths: Iterable[str | Path], work: Callable[[bytes], object], commit_every: int = 10
    ) -> dict[str, Outcome]:
        """Do ``work`` for each document that is new, has changed, or failed in an earlier run.

        ``work`` turns the content of a document into a value that JSON can express. Returned are
        the outcomes of all documents of the batch, those of earlier runs included.

        Raises:
            OSError: a document cannot be read, or the disk refuses. Mend it and run again.
            RuntimeError: another process is running this batch.
            ValueError: the files of the batch are damaged.
        """
        if not self.folder.is_dir():
            os.mkdir(self.folder)
        with open(self.journal, "ab") as journal:
            try:
                fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until the file is closed
            except BlockingIOError:
                raise RuntimeError(f"Another run works on {self.folder}: let it end.") from None
            fsync_folder(self.folder.parent)  # The names of the folder and of the journal must
            fsync_folder(self.folder)  # be on the disk before a checkpoint relies on them.
            committed_bytes, outcomes = self.load()
            journal.truncate(committed_bytes)  # What a crash left behind them never counted.
            uncommitted = 0
            for document in dict.fromkeys(map(str, paths)):
                content = Path(document).read_bytes()  # once, so that hash and result agree
                content_hash = hashlib.sha256(content).hexdigest()
                earlier = outcomes.get(document)
                if earlier and earlier.content_hash == content_hash and not earlier.error:
                    continue
                try:
                    line = seal(vars(Outcome(document, content_hash, work(content), None)))
                except Exception as error:  # noqa: BLE001 - one bad document does not end a batch
                    line = seal(vars(Outcome(document, content_hash, None, repr(error))))
                journal.write(line)
                uncommitted += 1
                if uncommitted >= commit_every:
                    self.commit(journal)
                    uncommitted = 0
            if uncommitted:
                self.commit(journal)
        return self.load()[1]

    def commit(self, journal: BinaryIO) -> None:
        """Make all outcomes in the journal survive a power cut; the order is what matters."""
        journal.flush()
        os.fsync(journal)  # 1. The outcomes are on the disk, but nothing counts them yet.
        temporary = f"{self.checkpoint}.tmp"
        with open(temporary, "wb") as checkpoint:
            checkpoint.write(seal({"committed_bytes": journal.tell()}))
            checkpoint.flush()
            os.fsync(checkpoint)  # 2. The new checkpoint is on the disk, beside the old one.
        os.replace(temporary, self.checkpoint)  # 3. It takes the old one's place, in one step.
        fsync_folder(self.folder)  # 4. This step is on the disk, too: now it is a promise.

    def load(self) -> tuple[int, dict[str, Outcome]]:
        """How many bytes of the journal count, and the last outcome of each document in them."""
        if not self.checkpoint.exists():
            return 0, {}
        size = unseal(self.checkpoint.read_bytes(), self.checkpoint)["committed_bytes"]
        with open(self.journal, "rb") as journal:
            committed = journal.read(size).ljust(size)  # What is missing will fail its checksum.
        outcomes = (Outcome(**unseal(line, self.journal)) for line in committed.splitlines(True))
        return size, {outcome.document: outcome for outcome in outcomes}


def seal(record: dict[str, Any]) -> bytes:
    """The record as a line of JSON that begins with its checksum."""
    text = json.dumps(record).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def unseal(line: bytes, file: Path) -> dict[str, Any]:
    """The record in a line of ``file``; raises ValueError if it is not as it was written."""
    text = line[9:-1]
    if line != b"%08x %s\n" % (zlib.crc32(text), text):
        raise ValueError(f"{file} is damaged: restore {file.parent}, or delete it and run again.")
    return dict(json.loads(text))


def fsync_folder(folder: Path) -> None:
    """Make the names of the files in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
