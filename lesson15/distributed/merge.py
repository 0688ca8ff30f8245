"""Merging shards into their batch, which is a normal one, by its one writer.

A shard is absorbed and then committed. Documents that the catalogue knows are passed over, so
absorbing a shard again, after a crash between the commit and the shard's removal, adds nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from lesson15.checkpoint.filesystem import FileSystem
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.segment import Vectors
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.distributed.plan import settled_among
from lesson15.embedding import open_embedder
from lesson15.engine.provenance import Provenance
from lesson15.engine.writer import Writer
from lesson15.errors import CorruptCheckpointError, OtherModelError, StorageError
from lesson15.events import AttemptFailed, DocRemoved, DocSettled, Event, FaultInjected, now
from lesson15.logs import get_logger
from lesson15.models import BatchReport, BatchState, BatchStatus, Chunk, DocStatus
from lesson15.stores import open_store
from lesson15.stores.catalog import Catalog
from lesson15.threads import to_the_end

T = TypeVar("T")
log = get_logger(__name__)
_SLICE = 64  # documents read from a shard before they are written
Entry = tuple[Event, tuple[Vectors, list[Chunk]] | None]


class Merge:
    """``batch``, open for writing under its lock.

    Used by one thread at a time, never that of ``loop``, which ``writer`` belongs to.
    """

    def __init__(
        self,
        writer: Writer,
        batch: StoredBatch,
        fs: FileSystem,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._batch = batch
        self._fs = fs
        self.manifest = batch.manifest
        self._writer = writer
        self._loop = loop

    @classmethod
    async def open(cls, manager: CheckpointManager, batch_id: str) -> Merge:
        """Recover the batch and open it; raises as :class:`Writer`."""
        batch = await to_the_end(manager.open, batch_id)
        # A shard is committed as a whole.
        writer = await to_the_end(Writer, batch, manager.fs, sys.maxsize, discard=Writer.close)
        return cls(writer, batch, manager.fs, asyncio.get_running_loop())

    @property
    def state(self) -> BatchState:
        """The counts of the batch."""
        return self._writer.state

    @property
    def catalog(self) -> Catalog:
        """The catalogue of the batch, as of the last commit."""
        return self._writer.catalog

    def identify(self) -> None:
        """Put on record which model the batch is made with, so that every worker can check its own.

        Where the model cannot be opened, which only workers must be able to, it stays unknown.

        Raises:
            OtherModelError: it is not the one that made what the batch has already.
            CheckpointWriteError: the system refused.
        """
        if self.manifest.identity is not None:
            return
        provenance = Provenance(self._batch, self.catalog, self._fs, _nobody)
        try:
            embedder = open_embedder(self.manifest.embedder, self.manifest.dimensions)
            provenance.check(embedder)
        except (OtherModelError, StorageError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a model is missing here
            log.info("the model is unknown to the coordinator", error=str(error))
        self.manifest = self._batch.read_manifest()

    def absorb(self, shards: CheckpointManager, shard_id: str) -> list[str]:
        """Add what a closed shard has committed, commit it, and return what is left of the shard.

        What is damaged is left too, to be done again.

        Returns:
            The ids of documents without a verdict, the largest first.

        Raises:
            BatchNotFoundError: the shard was never completely made.
            CorruptCheckpointError: it is damaged so that its documents are not known.
            CheckpointWriteError: the system refused; the last commit stays in force.
        """
        shard = shards.open(shard_id)
        documents = shard.manifest.sources or []
        settled = settled_among(documents, self.catalog)
        part: list[Entry] = []
        try:
            for entry in _committed(shard, settled):
                part.append(entry)
                if len(part) == _SLICE:
                    self._do(self._append(part))
                    part = []
        except CorruptCheckpointError as error:
            log.warning("shard damaged", shard=shard_id, error=str(error))
        self._do(self._append(part))  # what was read before the damage counts
        self._do(self._writer.commit())
        return [doc_id for doc_id in documents if doc_id not in settled]

    async def _append(self, entries: Iterable[Entry]) -> None:
        for event, content in entries:
            if isinstance(event, DocSettled):
                await self._writer.settle(event, content=content)
            else:
                self._writer.append(event)

    def give_up(self, doc_id: str, error: Exception, attempts: int) -> None:
        """Put a document on the dead-letter list."""
        event = DocSettled(
            doc_id=doc_id,
            status=DocStatus.FAILED,
            at=now(),
            worker=0,
            attempts=attempts,
            error=str(error),
            error_type=type(error).__name__,
        )
        self._do(self._append([(event, None)]))
        self._do(self._writer.commit())

    def note_total(self, total: int) -> None:
        """Correct the number of documents."""
        self._loop.call_soon_threadsafe(self._writer.note_total, total)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def finish(self, status: BatchStatus, seconds: float) -> BatchReport:
        """Put the end on record, save the index unless more is to come, and report."""
        writer = self._writer
        writer.end(status, seconds)
        await writer.commit()
        if status is BatchStatus.FINISHED:
            folder, manifest, cipher = self._batch.folder, self.manifest, self._batch.cipher
            await writer.save_index(
                lambda: open_store(manifest.store, folder.index, manifest.dimensions, cipher)
            )
        failures = await writer.in_thread(writer.catalog.failures)
        return BatchReport.of(writer.state, writer.state.status, failures)

    async def aclose(self) -> None:
        """Close the files; what was not committed is dropped."""
        await self._writer.aclose()


def _committed(shard: StoredBatch, settled: set[str]) -> Iterator[Entry]:
    """What a shard has committed about documents that are not ``settled``, which those with a
    verdict then are.
    """
    with shard.blocks() as blocks:
        for event in shard.events():
            if not isinstance(event, DocSettled | DocRemoved | AttemptFailed | FaultInjected):
                continue  # about the run: its worker, its limits, its commits
            if event.doc_id is None or event.doc_id in settled:
                continue
            content = None
            if isinstance(event, DocSettled):
                if event.block is not None:
                    content = blocks.read(event.block)
                settled.add(event.doc_id)  # not before: a damaged one is to be done again
            yield event, content


def _nobody(_event: Event) -> None:
    """Is told that a worker's parts may be newer: the coordinator does no work itself."""
