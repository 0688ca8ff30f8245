"""The parts that a run is made of, as the settings ask for them, under a layer of faults or not.

Without a fault plan nothing of :mod:`lesson15.faults` is loaded, and no part is wrapped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lesson15.checkpoint.encryption import Cipher
from lesson15.checkpoint.filesystem import FileSystem
from lesson15.checkpoint.layout import BatchFolder
from lesson15.checkpoint.state_files import Manifest
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.documents.chunkers import open_chunker
from lesson15.documents.isolation import PROGRAM, ParserPool
from lesson15.documents.parsed import ParseOptions
from lesson15.embedding import Embedder, open_embedder
from lesson15.embedding.asking import call_in_thread
from lesson15.embedding.base import CallHooks, CallOptions
from lesson15.embedding.batcher import MicroBatcher
from lesson15.engine.provenance import Provenance, check_model
from lesson15.engine.steps import ChunkStep, open_steps
from lesson15.engine.work import DocumentWork, IndexingWork
from lesson15.errors.base import message_of
from lesson15.events import Event, ServiceBack, ServiceLost, now
from lesson15.settings import Settings
from lesson15.stores import VectorStore, open_store
from lesson15.stores.catalog import Catalog
from lesson15.threads import to_the_end

if TYPE_CHECKING:
    from lesson15.faults import FaultControl, FaultPlan
    from lesson15.faults.layer import FaultLayer


def _nothing(_what: object) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Assembly:
    """Makes the parts of one run.

    ``embedder``, ``work`` and ``steps`` are what the caller gave, None for the default.

    Attributes:
        note: puts an event on record, on the event loop.
        on_pressure: is told, on the event loop, that the model ran out of memory.
        check: sees whether an embedder that was opened is the model of the batch, in a thread.
    """

    settings: Settings
    max_concurrent: int
    fs: FileSystem
    embedder: str | Embedder | None
    work: DocumentWork | None
    faults: FaultLayer | None = None
    steps: Sequence[str | ChunkStep] | None = None
    note: Callable[[Event], object] = _nothing
    on_pressure: Callable[[Exception], object] = _nothing
    check: Callable[[Embedder], object] | None = None

    def file_system(self) -> FileSystem:
        """What commits go through."""
        return self.faults.file_system(self.fs) if self.faults else self.fs

    def store(self, manifest: Manifest, folder: BatchFolder, cipher: Cipher | None) -> VectorStore:
        """The index of the batch."""
        store = open_store(manifest.store, folder.index, manifest.dimensions, cipher)
        return self.faults.store(store) if self.faults else store

    def document_work(self, stack: AsyncExitStack, manifest: Manifest) -> DocumentWork:
        """What is done to a document; ``stack`` closes what that needs."""
        work = self.work or self._indexing(stack, manifest)
        return self.faults.work(work) if self.faults else work

    def _indexing(self, stack: AsyncExitStack, manifest: Manifest) -> IndexingWork:
        settings, faults = self.settings, self.faults
        open_chunker(manifest.chunker)  # one that is broken is told now, not of each document
        steps = open_steps(
            manifest.steps if self.steps is None else self.steps, settings.step_timeout
        )
        roots = settings.document_roots
        pool = ParserPool(
            processes=settings.parser_processes or min(self.max_concurrent, os.cpu_count() or 1),
            options=ParseOptions(
                chunk_chars=manifest.chunk_chars,
                chunk_overlap_chars=manifest.chunk_overlap_chars,
                max_document_bytes=settings.max_document_bytes,
                roots=None if roots is None else [os.path.realpath(root) for root in roots],
                chunker=manifest.chunker,
            ),
            timeout=settings.parse_timeout,
            memory_bytes=settings.parser_memory_bytes,
            program=faults.parser_program if faults else PROGRAM,
        )
        stack.push_async_callback(pool.aclose)
        batcher = MicroBatcher(
            lambda: self._embedder(manifest),
            settings.embed_batch_chunks,
            options=CallOptions.of(settings),
            hooks=hooks_of(manifest.embedder, self.note, self.on_pressure),
        )
        stack.push_async_callback(batcher.aclose)
        return IndexingWork(
            faults.parser(pool) if faults else pool,
            faults.batcher(batcher) if faults else batcher,
            manifest.dimensions,
            steps,
        )

    def _embedder(self, manifest: Manifest) -> Embedder:
        given = self.embedder
        embedder = (
            open_embedder(manifest.embedder, manifest.dimensions)
            if given is None or isinstance(given, str)
            else given
        )
        if self.check is not None:
            self.check(embedder)
        elif manifest.identity is not None:
            check_model(embedder, manifest, lambda: None, call_in_thread)
        return self.faults.embedder(embedder) if self.faults else embedder


def hooks_of(
    service: str, note: Callable[[Event], object], on_pressure: Callable[[Exception], object]
) -> CallHooks:
    """Puts outages of ``service``, the embedder, on record by ``note``."""
    return CallHooks(
        service=service,
        on_outage=lambda error: note(ServiceLost(service, message_of(error), now())),
        on_recovery=lambda seconds: note(ServiceBack(service, round(seconds, 3), now())),
        on_pressure=on_pressure,
    )


def with_faults(
    parts: Assembly,
    faults: FaultPlan | FaultControl,
    folder: BatchFolder,
    note: Callable[[Event], None],
    stack: AsyncExitStack,
) -> Assembly:
    """``parts`` under a layer of ``faults``; ``note`` gets an event of each, on this event loop.

    Raises:
        UsageError: ``faults`` is the control of another batch.
    """
    from lesson15.faults.layer import FaultLayer

    loop = asyncio.get_running_loop()

    def tell(event: Event) -> None:
        loop.call_soon_threadsafe(note, event)

    layer = FaultLayer(faults, folder, tell)
    stack.callback(layer.close)
    return replace(parts, faults=layer)


async def with_check(
    parts: Assembly, batch: StoredBatch, catalog: Catalog, fs: FileSystem
) -> Assembly:
    """``parts`` that check whether their embedder is the model of ``batch``; see
    :class:`Provenance`.
    """
    if parts.work is not None:
        return parts
    loop = asyncio.get_running_loop()

    def tell(event: Event) -> None:
        loop.call_soon_threadsafe(parts.note, event)

    provenance = await to_the_end(Provenance, batch, catalog, fs, tell)
    return replace(parts, check=provenance.check)
