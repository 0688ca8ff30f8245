"""The layer of faults over the parts of one run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from lesson15.checkpoint.filesystem import FileSystem
from lesson15.checkpoint.layout import BatchFolder
from lesson15.documents.isolation import ParserPool
from lesson15.embedding import Embedder
from lesson15.embedding.batcher import MicroBatcher
from lesson15.errors import UsageError
from lesson15.events import FaultInjected
from lesson15.faults import parser_program
from lesson15.faults.control import FaultControl
from lesson15.faults.documents import (
    D,
    FaultyBatcher,
    FaultyEmbedding,
    FaultyParser,
    FaultyWork,
    T,
)
from lesson15.faults.effects import Effects
from lesson15.faults.injector import FaultInjector
from lesson15.faults.plan import FaultPlan
from lesson15.faults.storage import FaultyFileSystem, FaultyStore
from lesson15.stores import VectorStore


class FaultLayer:
    """Wraps each part of a run; one injector decides for all of them.

    Args:
        faults: the plan to begin with, which replaces that in the batch's control file, or the
            live control, which leaves it as it is.
        folder: the batch's.
        announce: gets an event of each fault; see :class:`FaultInjector`.

    Raises:
        UsageError: ``faults`` is the control of another batch.
    """

    def __init__(
        self,
        faults: FaultPlan | FaultControl,
        folder: BatchFolder,
        announce: Callable[[FaultInjected], None],
    ) -> None:
        control = FaultControl(folder.root.parent, folder.batch_id)
        if isinstance(faults, FaultPlan):
            control.set(faults)
        elif faults.path.resolve() != control.path.resolve():
            raise UsageError(
                problem=f"The fault control of {faults.path.parent} cannot control the batch in "
                f"{folder.root}. Make one with FaultControl({str(folder.root.parent)!r}, "
                f"{folder.batch_id!r})."
            )
        self._injector = FaultInjector(control, announce)
        self._effects = Effects(self._injector)
        self._embedding = FaultyEmbedding(self._injector, self._effects)

    def file_system(self, fs: FileSystem) -> FileSystem:
        """``fs`` with the points ``checkpoint_write``, ``fsync`` and ``rename``."""
        return FaultyFileSystem(fs, self._injector, self._effects)

    def store(self, store: VectorStore) -> VectorStore:
        """``store`` with the point ``index``."""
        return FaultyStore(store, self._injector, self._effects)

    @property
    def parser_program(self) -> str:
        """What the processes of a pool run that is to be a :meth:`parser`."""
        return parser_program.__name__

    def parser(self, pool: ParserPool) -> FaultyParser:
        """``pool`` with the points ``read`` and ``parse``."""
        return FaultyParser(pool, self._injector, self._effects)

    def batcher(self, batcher: MicroBatcher) -> FaultyBatcher:
        """``batcher`` with the point ``embed``; its embedder must be an :meth:`embedder`."""
        return self._embedding.batcher(batcher)

    def embedder(self, embedder: Embedder) -> Embedder:
        """``embedder`` with what :meth:`batcher` sends it."""
        return self._embedding.embedder(embedder)

    def work(self, work: Callable[[D], Awaitable[T]]) -> FaultyWork[D, T]:
        """``work`` with the point ``result``."""
        return FaultyWork(work, self._injector, self._effects)

    def close(self) -> None:
        """End what hangs and publish the last counts."""
        self._injector.close()
        self._effects.clock.restore()
