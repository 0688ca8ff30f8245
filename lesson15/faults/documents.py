"""Faults on the way of a document: around the parser pool, the embedder and the work as a whole.

The ports pass paths and texts. Which document these are of, and which attempt at it this is, stands
in the context of the task that works on it.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, Protocol, TypeVar

from lesson15.documents.isolation import ParserPool
from lesson15.documents.parsed import ParsedDocument
from lesson15.embedding import Embedder
from lesson15.embedding.base import Vectors
from lesson15.embedding.batcher import MicroBatcher
from lesson15.faults.effects import Effects, exception_of
from lesson15.faults.injector import Fault, FaultInjector
from lesson15.faults.parser_program import KINDS as KINDS_IN_PARSER
from lesson15.faults.parser_program import ParserFault
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
    """Sends faults along with the document, so that they strike inside the parser process, which
    runs :mod:`lesson15.faults.parser_program`.

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
        sent: list[ParserFault] = []
        for point in (FaultPoint.READ, FaultPoint.PARSE):
            for fault in self._injector.decide(point, *_now_at.get()):
                if fault.kind not in KINDS_IN_PARSER:
                    await self._effects.carry_out_async([fault])
                sent.append(ParserFault(point.value, fault.kind.value, fault.rule.seconds))
        return await self._pool.parse(path, {"faults": list(map(list, sent))})


class _Load:
    """What is to strike a thread of the model when it begins with a text.

    It lies beside the texts, which pass through the micro-batcher as they are, and is found by
    the identity of the text, as several documents may have equal ones.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[str, Sequence[Fault]]] = {}

    @contextmanager
    def laid(self, text: str, faults: Sequence[Fault]) -> Iterator[None]:
        """Have ``faults`` strike with ``text``, each time that its turn comes in this context."""
        with self._lock:
            self._waiting[id(text)] = (text, faults)  # the text too, so that its id stays its own
        try:
            yield
        finally:
            with self._lock:
                self._waiting.pop(id(text), None)

    def on(self, texts: Sequence[str]) -> list[Fault]:
        """What strikes with one of ``texts``; it stays, as a call that fails is made again."""
        with self._lock:
            found = [self._waiting[id(text)] for text in texts if id(text) in self._waiting]
        return [fault for _, faults in found for fault in faults]


class FaultyEmbedding:
    """Puts the faults of the point ``embed`` around a micro-batcher and its embedder.

    An exception is raised to the document that it was drawn for and not to its neighbours in the
    micro-batch, else the batching would decide which documents fail. What blocks must block the
    thread of the model, so it strikes there, with the document's first chunk.
    """

    def __init__(self, injector: FaultInjector, effects: Effects) -> None:
        self._injector = injector
        self._effects = effects
        self._load = _Load()

    def batcher(self, batcher: MicroBatcher) -> FaultyBatcher:
        """``batcher``, whose embedder must be one of :meth:`embedder`."""
        return FaultyBatcher(batcher, self._injector, self._effects, self._load)

    def embedder(self, embedder: Embedder) -> FaultyEmbedder:
        """``embedder``, in whose threads strikes what :meth:`batcher` lays there."""
        return FaultyEmbedder(embedder, self._effects, self._load)


class FaultyBatcher:
    """Decides which faults strike when a document is embedded; see :class:`FaultyEmbedding`."""

    def __init__(
        self, batcher: MicroBatcher, injector: FaultInjector, effects: Effects, load: _Load
    ) -> None:
        self._batcher = batcher
        self._injector = injector
        self._effects = effects
        self._load = load

    async def embed(self, texts: list[str]) -> Vectors:
        """As :meth:`MicroBatcher.embed`; raises what was injected too."""
        faults = self._injector.decide(FaultPoint.EMBED, *_now_at.get())
        if not faults:
            return await self._batcher.embed(texts)
        if any(map(exception_of, faults)):
            await self._effects.carry_out_async(faults)
        with self._load.laid(texts[0], faults):
            return await self._batcher.embed(texts)


class FaultyEmbedder:
    """Carries out faults in an embedding thread; see :class:`FaultyEmbedding`."""

    name: str
    dimensions: int

    def __init__(self, embedder: Embedder, effects: Effects, load: _Load) -> None:
        for attribute in dir(embedder):  # the optional ones too, which say how it is to be called
            if not attribute.startswith("_") and attribute != "embed":
                setattr(self, attribute, getattr(embedder, attribute))
        self._embedder = embedder
        self._effects = effects
        self._load = load

    def embed(self, texts: Sequence[str]) -> Vectors:
        """As the embedder's own."""
        faults = self._load.on(texts)
        if faults:
            self._effects.carry_out(faults)
        return self._embedder.embed(texts)
