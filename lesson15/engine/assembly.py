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
from lesson15.documents.chunkers import open_chunker
from lesson15.documents.isolation import PROGRAM, ParserPool
from lesson15.documents.parsed import ParseOptions
from lesson15.embedding import Embedder, canonical_name, open_embedder
from lesson15.embedding.batcher import MicroBatcher
from lesson15.embedding.options import CallHooks, CallOptions
from lesson15.engine.steps import ChunkStep, open_steps
from lesson15.engine.work import DocumentWork, IndexingWork
from lesson15.errors import SettingsMismatchError
from lesson15.errors.base import message_of
from lesson15.events import Event, ServiceBack, ServiceLost, now
from lesson15.settings import Settings
from lesson15.stores import VectorStore, open_store

if TYPE_CHECKING:
    from lesson15.faults import FaultControl, FaultPlan
    from lesson15.faults.layer import FaultLayer


@dataclass(frozen=True)
class Assembly:
    """Makes the parts of one run.

    ``embedder``, ``work`` and ``steps`` are what the caller gave, None for the default.
    """

    settings: Settings
    max_concurrent: int
    fs: FileSystem
    embedder: str | Embedder | None
    work: DocumentWork | None
    faults: FaultLayer | None = None
    hooks: CallHooks | None = None
    steps: Sequence[str | ChunkStep] | None = None

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
            hooks=self.hooks,
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
        return self.faults.embedder(embedder) if self.faults else embedder


def check_fits(manifest: Manifest, **given: object) -> None:
    """Check that what is ``given`` for a batch, if it is not None, is what it was made with.

    Raises:
        SettingsMismatchError: it is not.
    """
    for name, value in given.items():
        stored = getattr(manifest, name)
        if value is not None and value != stored:
            raise SettingsMismatchError(
                batch_id=manifest.batch_id, name=name, stored=stored, given=value
            )


def name_of_embedder(embedder: str | Embedder) -> str:
    """The name that a manifest has for ``embedder``; raises UnknownNameError."""
    return canonical_name(embedder) if isinstance(embedder, str) else embedder.name


def hooks_of(
    service: str, note: Callable[[Event], None], on_pressure: Callable[[Exception], None]
) -> CallHooks:
    """Puts outages of ``service``, the embedder, on record by ``note``."""
    return CallHooks(
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
