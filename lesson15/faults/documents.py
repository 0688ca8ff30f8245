"""Faults on the way of a document: around the parser pool, the embedder and the work as a whole.

The ports pass paths and texts. Which document these are of, and which attempt at it this is, stands
in the context of the task that works on it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Generic, Protocol, TypeVar

from lesson15.documents.isolation import ParserPool
from lesson15.documents.parsed import ParsedDocument
from lesson15.documents.step_faults import KINDS as KINDS_IN_PARSER
from lesson15.documents.step_faults import StepFault
from lesson15.embedding import Embedder
from lesson15.embedding.base import ParallelEmbedder, Vectors
from lesson15.embedding.batcher import MicroBatcher
from lesson15.faults.effects import Effects, exception_of
from lesson15.faults.injector import Fault, FaultInjector
from lesson15.faults.points import FaultPoint

_now_at: ContextVar[tuple[str, int]] = ContextVar("_now_at")
"""The document in work and the number of the attempt at it."""


class _Document(Protocol):
    doc_id: str


D = TypeVar("D", bound=_Document)
T = TypeVar("T")


class FaultyWork(Generic[D, T]):
    """The work on a document, with the faults of the point ``result`` after it."""

    def __init__(
        self, work: Callable[[D], Awaitable[T]], injector: FaultInjector, effects: Effects
    ) -> None:
        self._work = work
        self._injector = injector
        self._effects = effects
        self._attempts: dict[str, int] = {}

    async def __call__(self, document: D, /) -> T:
        """Work on ``document``; raises what the work raises, or what was injected."""
        doc_id = document.doc_id
        attempt = self._attempts[doc_id] = self._attempts.get(doc_id, 0) + 1
        before = _now_at.set((doc_id, attempt))
        try:
            result = await self._work(document)
            faults = self._injector.decide(FaultPoint.RESULT, doc_id, attempt)
            if faults:
                await self._effects.carry_out_async(faults)
        finally:
            _now_at.reset(before)
        del self._attempts[doc_id]  # done: only those in trouble are remembered
        return result


class FaultyParser:
    """Sends faults along with the document, so that they strike inside the parser process.

    What a parser process cannot bring about - it has no network, and may not abort the batch - is
    raised in its stead. A fault counts when it is sent, even if the document fails before that
    step.
    """

    def __init__(self, pool: ParserPool, injector: FaultInjector, effects: Effects) -> None:
        self._pool = pool
        self._injector = injector
        self._effects = effects

    async def parse(self, path: str) -> ParsedDocument:
        """The chunks of the file at ``path``; raises as the pool does, or what was injected."""
        sent: list[StepFault] = []
        for point in (FaultPoint.READ, FaultPoint.PARSE):
            for fault in self._injector.decide(point, *_now_at.get()):
                if fault.kind not in KINDS_IN_PARSER:
                    await self._effects.carry_out_async([fault])
                sent.append(StepFault(point.value, fault.kind.value, fault.rule.seconds))
        return await self._pool.parse(path, sent)


class _MarkedText(str):
    """A chunk that carries its document's faults into the embedding thread: see FaultyBatcher."""

    __slots__ = ("faults",)
    faults: Sequence[Fault]


class FaultyBatcher:
    """Puts the faults of the point ``embed`` before a micro-batcher.

    An exception is raised to the document that it was drawn for and not to its neighbours in the
    micro-batch, else the batching would decide which documents fail. What blocks must block the
    thread of the model, so it travels there with the document's first chunk.
    """

    def __init__(self, batcher: MicroBatcher, injector: FaultInjector, effects: Effects) -> None:
        self._batcher = batcher
        self._injector = injector
        self._effects = effects

    async def embed(self, texts: list[str]) -> Vectors:
        """As :meth:`MicroBatcher.embed`; raises what was injected too."""
        faults = self._injector.decide(FaultPoint.EMBED, *_now_at.get())
        if not faults:
            return await self._batcher.embed(texts)
        if any(map(exception_of, faults)):
            await self._effects.carry_out_async(faults)
        first = _MarkedText(texts[0])
        first.faults = faults
        return await self._batcher.embed([first, *texts[1:]])


class FaultyEmbedder:
    """Carries out, in an embedding thread, the faults that chunks bring along."""

    def __init__(self, embedder: Embedder, effects: Effects) -> None:
        self.name = embedder.name
        self.dimensions = embedder.dimensions
        self._embedder = embedder
        self._effects = effects
        if isinstance(embedder, ParallelEmbedder):  # then this is one too
            self.threads = embedder.threads
            self.begin_thread = embedder.begin_thread

    def embed(self, texts: Sequence[str]) -> Vectors:
        """As the embedder's own."""
        for text in texts:
            if isinstance(text, _MarkedText):
                self._effects.carry_out(text.faults)
        return self._embedder.embed([str(text) for text in texts])
