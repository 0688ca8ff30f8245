"""The whole engine, parsing and embedding in place, watched through a model of the disk."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesson15.checkpoint.batch_files import Cut
from lesson15.checkpoint.filesystem import FileSystem
from lesson15.checkpoint.journal import Position
from lesson15.crashlab.disk import Content, Disk
from lesson15.crashlab.port import RecordingFileSystem
from lesson15.documents.parsed import ParsedDocument, ParseOptions
from lesson15.documents.parsing import parse_document
from lesson15.embedding import HashingEmbedder
from lesson15.engine.processor import BatchProcessor
from lesson15.engine.work import IndexingWork
from lesson15.engine.writer import Writer
from lesson15.events import Event
from lesson15.models import BatchState
from lesson15.settings import Settings
from lesson15.stores import VectorStore

BATCH = "b"
EMBEDDER = HashingEmbedder(16)
CONCURRENCY = 2
_DERIVED = ("catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite.crc", "index.faiss",
            "index.faiss.json")  # fmt: skip


class InlineParser:
    async def parse(self, path: str) -> ParsedDocument:
        return parse_document(path, ParseOptions())


class InlineBatcher:
    def __init__(self, dimensions: int) -> None:
        self._embedder = HashingEmbedder(dimensions)

    async def embed(self, texts: Sequence[str]) -> Any:
        return self._embedder.embed(texts)


def indexing_in_place(dimensions: int) -> IndexingWork:
    return IndexingWork(InlineParser(), InlineBatcher(dimensions), dimensions)


class InlineProcessor(BatchProcessor):
    """The engine without parser processes. ``on_open`` sees the writer once it has recovered."""

    def __init__(
        self,
        state: Path,
        interval: int = 3,
        fs: FileSystem | None = None,
        on_open: Callable[[Writer], None] = lambda writer: None,
        embedder: HashingEmbedder = EMBEDDER,
    ) -> None:
        super().__init__(
            CONCURRENCY, interval, state_dir=state, embedder=embedder, store="faiss",
            settings=Settings(retry_delay=0), fs=fs, work=indexing_in_place(embedder.dimensions),
        )  # fmt: skip
        self.writer_callbacks.append(on_open)


@dataclass(frozen=True)
class Commitment:
    """What a commit covers: every event of the batch up to it, their bytes, and their counts."""

    events: list[Event]
    journal_bytes: int
    counts: tuple[int, int, int, int]


def counts_of(state: BatchState) -> tuple[int, int, int, int]:
    return state.processed_docs, state.failed_docs, state.skipped_docs, state.chunks


@dataclass(frozen=True)
class Moment:
    """A prefix of the trace: the disk by then, what was promised, and what was derived by then."""

    disk: Disk
    promised: int
    snapshots: int


class Recorder(RecordingFileSystem):
    """Keeps every moment of a run, and the truth about what it committed.

    ``history[n]`` is commit ``n`` (0: the batch was made), tried or done; ``promised`` is the last
    one that was reported done, -1 before there is a batch. ``snapshots`` are the derived files,
    which do not go through the file-system port, after each change, the oldest first.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(Disk())
        self.root = root
        self.history = [Commitment([], 0, (0, 0, 0, 0))]
        self.promised = -1
        self.snapshots: list[Content] = [{}]
        self.moments: list[Moment] = []

    def before_step(self) -> None:
        self.moments.append(Moment(copy.deepcopy(self.disk), self.promised, len(self.snapshots)))

    def watch(self, writer: Writer) -> None:
        """Note what ``writer``, just recovered, commits from now on."""
        number = writer.files.committed.number
        del self.history[number + 1 :]
        self.promised = number
        write, apply, save = writer.files.write, writer.catalog.apply, writer.save_index

        def watched_write(cut: Cut) -> None:
            last = self.history[-1]
            journal_bytes = last.journal_bytes + sum(map(len, cut.journal))  # not as it says
            self.history.append(
                Commitment(last.events + cut.events, journal_bytes, counts_of(cut.state))
            )
            write(cut)
            self.promised = len(self.history) - 1

        def watched_apply(events: list[Event], position: Position) -> None:
            promised = self.history[self.promised].journal_bytes
            assert position.offset <= promised, "the catalogue is ahead of the commit"
            apply(events, position)
            self._snap()

        async def watched_save(open_store: Callable[[], VectorStore]) -> None:
            await save(open_store)
            self._snap()

        writer.files.write = watched_write  # type: ignore[method-assign]
        writer.catalog.apply = watched_apply  # type: ignore[method-assign, assignment]
        writer.save_index = watched_save  # type: ignore[method-assign]

    def _snap(self) -> None:
        paths = (self.root / name for name in _DERIVED)
        self.snapshots.append({path.name: path.read_bytes() for path in paths if path.exists()})


def drive(work: Any) -> dict[str, Any]:
    result: dict[str, Any] = asyncio.run(work)
    return result
