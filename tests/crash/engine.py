"""The whole engine, parsing and embedding in place, watched through a model of the disk."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesson15.checkpoint.documents import Manifest
from lesson15.checkpoint.filesystem import FileSystem
from lesson15.checkpoint.journal import Position, Record
from lesson15.documents.parsed import ParsedDocument, ParseOptions
from lesson15.documents.parsing import parse_document
from lesson15.embedding import HashingEmbedder
from lesson15.engine.ledger import Ledger
from lesson15.engine.processor import BatchProcessor, Paths
from lesson15.engine.work import DocumentWork, IndexingWork
from lesson15.models import BatchState
from lesson15.settings import Settings
from lesson15.stores import VectorStore
from tests.crash.disk import Content, Disk, RecordingFileSystem

BATCH = "b"
EMBEDDER = HashingEmbedder(16)
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


def indexing_in_place(manifest: Manifest) -> IndexingWork:
    batcher = InlineBatcher(manifest.dimensions)
    return IndexingWork(InlineParser(), batcher, manifest.dimensions)


class InlineProcessor(BatchProcessor):
    """The engine without parser processes. ``on_open`` sees the ledger once it is recovered."""

    def __init__(
        self,
        state: Path,
        interval: int = 3,
        fs: FileSystem | None = None,
        on_open: Callable[[Ledger], None] = lambda ledger: None,
        embedder: HashingEmbedder = EMBEDDER,
    ) -> None:
        super().__init__(
            2, interval, state_dir=state, embedder=embedder, store="faiss",
            settings=Settings(retry_delay=0), fs=fs,
        )  # fmt: skip
        self._on_open = on_open

    async def _run(
        self,
        stack: AsyncExitStack,
        manifest: Manifest,
        ledger: Ledger,
        work: DocumentWork,
        paths: Paths | None,
        **options: Any,
    ) -> dict[str, Any]:
        self._on_open(ledger)
        work = indexing_in_place(manifest)
        return await super()._run(stack, manifest, ledger, work, paths, **options)


@dataclass(frozen=True)
class Commitment:
    """What a commit covers: every record of the batch up to it, their bytes, and their counts."""

    records: list[Record]
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

    def watch(self, ledger: Ledger) -> None:
        """Note what ``ledger``, just recovered, commits from now on."""
        number = ledger.log.committed.number
        del self.history[number + 1 :]
        self.promised = number
        commit, apply, open_store = ledger.log.commit, ledger.catalog.apply, ledger._open_store

        def watched_commit() -> list[Record]:
            log = ledger.log
            flush = log._journal.flush

            def watched_flush() -> None:  # when the record of the commit itself is appended
                records = self.history[-1].records + log.records
                journal_bytes = log._journal.position.offset
                self.history.append(Commitment(records, journal_bytes, counts_of(log.state)))
                flush()

            log._journal.flush = watched_flush  # type: ignore[method-assign]
            try:
                result = commit()
            finally:
                log._journal.flush = flush  # type: ignore[method-assign]
            self.promised = len(self.history) - 1
            return result

        def watched_apply(records: list[Record], position: Position) -> None:
            promised = self.history[self.promised].journal_bytes
            assert position.offset <= promised, "the catalogue is ahead of the commit"
            apply(records, position)
            self._snap()

        def watched_store() -> VectorStore:
            store = open_store()
            save = store.save

            def watched_save(tag: str) -> None:
                save(tag)
                self._snap()

            store.save = watched_save  # type: ignore[method-assign]
            return store

        ledger.log.commit = watched_commit  # type: ignore[method-assign]
        ledger.catalog.apply = watched_apply  # type: ignore[method-assign, assignment]
        ledger._open_store = watched_store

    def _snap(self) -> None:
        paths = (self.root / name for name in _DERIVED)
        self.snapshots.append({path.name: path.read_bytes() for path in paths if path.exists()})


def drive(work: Any) -> dict[str, Any]:
    result: dict[str, Any] = asyncio.run(work)
    return result
