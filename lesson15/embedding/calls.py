"""Calls of the model that are made again, split or held back, so that documents need not suffer.

The policy table decides (:mod:`lesson15.recovery`); what follows from it for one call of several
texts, all of other people's documents:

- A passing error: the call, and nothing else, is made again after a wait, as long as the service
  asks for. Where the service itself is in trouble (:class:`~lesson15.recovery.Trouble`), the texts
  are never blamed; a :class:`~lesson15.embedding.breaker.Breaker` holds all calls back.
- Texts are blamed once the retries are used up, or at once if they are refused: the call is halved
  until the bad text is alone, and the others get their vectors. So is a call of several texts that
  fails again after each of a few outages: between them the service answered a single text.
- Before a lone text is blamed, the embedder must have shown that it works: it has answered another
  call since, or it answers a probe. If it refuses even that, the batch ends, and not 2,000
  documents in the dead-letter list.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from numpy.typing import NDArray

from lesson15.embedding.base import CallHooks, CallOptions, Embedder, Traits, Vectors, as_vectors
from lesson15.embedding.breaker import Breaker, refusal
from lesson15.embedding.rates import Rates
from lesson15.errors import (
    EmbedderRefusedError,
    EmbeddingModelError,
    InvalidAnswerError,
    Lesson15Error,
    RefusedTextError,
    RepeatedCallError,
    ServiceOutageError,
    StepTimeoutError,
    StorageError,
)
from lesson15.logs import get_logger
from lesson15.recovery import (
    FILE_NOT_FOUND,
    OUT_OF_MEMORY,
    Action,
    Decision,
    Trouble,
    classify,
)
from lesson15.recovery.evidence import grpc_code, http_status
from lesson15.threads import DaemonThreads

T = TypeVar("T")
log = get_logger(__name__)

PROBE_TEXT = "lesson15 asks whether you are there."
_PROBE_TRIES = 3
_LIMITED_TRIES = 4
_RELAPSES = 10
_RELAPSES_OF_SEVERAL = 2


class _BlameError(Exception):
    """The texts of a call are to blame; ``error`` is for the document if it was only one."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class ModelCalls:
    """Makes the calls of one embedder, in threads; on one event loop.

    Breaker and rates are made when they are first needed: a model on this machine needs none.

    Args:
        open_embedder: makes the embedder; called in a thread.
        options: how calls are repeated.
        hooks: whom to tell.

    Attributes:
        is_open: whether the embedder is there.
        traits: what it says of itself.
    """

    def __init__(
        self, open_embedder: Callable[[], Embedder], options: CallOptions, hooks: CallHooks
    ) -> None:
        self._open = open_embedder
        self._options = options
        self._hooks = hooks
        self._classify: Callable[[BaseException], Decision] = partial(
            classify, is_transient=hooks.is_transient
        )
        self._threads = DaemonThreads("lesson15-embed")
        self._begun = threading.local()
        self._embedder: Embedder | None = None
        self.is_open = False
        self.traits = Traits()
        self._rates: Rates | None = None
        self._breaker: Breaker | None = None
        self._answered = 0  # calls

    async def open(self) -> None:
        """Make the embedder, however long it takes a service that is away to come back.

        Raises:
            EmbeddingModelError: it cannot be made.
            ServiceOutageError: the service stayed away for longer than the patience.
        """
        began, tries = asyncio.get_running_loop().time(), 0
        while True:
            try:
                embedder = await self._in_time(self._open)
                self.traits = Traits.of(embedder)
                break
            except Exception as error:  # noqa: BLE001 - judged by the policy table
                tries += 1
                await asyncio.sleep(self._after_opening(error, tries, began))
        options, traits = self._options, self.traits
        if tries > options.max_retries:
            self._hooks.on_recovery(asyncio.get_running_loop().time() - began)
        requests = traits.requests_per_minute or options.requests_per_minute
        tokens = traits.tokens_per_minute or options.tokens_per_minute
        if requests or tokens:
            self._rates = Rates(requests, tokens, traits.count_tokens)
        self._embedder, self.is_open = embedder, True

    def _made_breaker(self) -> Breaker:
        """The breaker, from the first failure on."""
        if self._breaker is None:
            assert self._embedder is not None  # noqa: S101 - a call of it has failed
            self._breaker = Breaker(
                self._embedder.name,
                self._probe,
                threshold=self._options.breaker_failures,
                patience=self._options.outage_patience,
                first_wait=self._options.retry_delay,
                longest_wait=self._options.probe_interval,
                longest_told_wait=self._options.max_retry_after,
                on_outage=self._hooks.on_outage,
                on_recovery=self._recovered,
                classify=self._classify,
            )
        return self._breaker

    def _recovered(self, seconds: float) -> None:
        self._answered += 1
        if self._rates is not None:
            self._rates.resume()
        self._hooks.on_recovery(seconds)

    def _after_opening(self, error: Exception, tries: int, began: float) -> float:
        """Seconds until the embedder is tried to be made again; raises if it is not."""
        options, decision = self._options, self._classify(error)
        waited = asyncio.get_running_loop().time() - began
        if decision.is_transient and tries <= options.max_retries:
            return options.until_told(decision, options.backoff(tries))
        if not decision.is_transient or isinstance(error, StepTimeoutError):
            if isinstance(error, StorageError | EmbeddingModelError):
                raise error
            raise EmbeddingModelError(model=self._hooks.service, detail=error) from error
        if tries == options.max_retries + 1:
            self._hooks.on_outage(error)
        if waited >= options.outage_patience:
            raise ServiceOutageError(
                embedder=self._hooks.service, seconds=round(waited), detail=error
            ) from error
        return options.until_told(decision, min(options.backoff(tries), options.probe_interval))

    async def run(self, texts: list[str]) -> list[NDArray[Any] | Exception]:
        """For each text its vector (dimensions), or what went wrong with it; see the module."""
        try:
            return list(await self._insist(texts))
        except _BlameError as blame:
            if len(texts) == 1:
                return [blame.error]
        except Exception as error:  # noqa: BLE001 - it concerns every text alike
            return [error] * len(texts)
        middle = len(texts) // 2
        return [*await self.run(texts[:middle]), *await self.run(texts[middle:])]

    async def aclose(self) -> None:
        """Let go of the threads; one in a call that never returns is left behind."""
        if self._breaker is not None:
            await self._breaker.aclose()
        self._threads.close()

    # --- one call, and again ------------------------------------------------------------------

    async def _insist(self, texts: list[str]) -> Vectors:
        """Vectors (len(texts) x dimensions), however many calls that takes.

        Raises:
            _BlameError: the texts are to blame.
            Exception: every document is concerned.
        """
        loop = asyncio.get_running_loop()
        tries: Counter[str] = Counter()
        relapses, first_failure = 0, None
        outages = self._breaker.outages if self._breaker is not None else 0
        while True:
            if self._breaker is not None:
                await self._breaker.admit()
            if self._rates is not None:
                await self._rates.admit(texts)
            if self._breaker is not None and self._breaker.outages != outages:
                # What failed during an outage says nothing of the texts.
                limited = tries[Trouble.RATE_LIMITED]
                tries = Counter({Trouble.RATE_LIMITED: limited})
                first_failure, outages = None, self._breaker.outages
                relapses += 1
            answered, begun = self._answered, loop.time()
            try:
                vectors = await self._call(texts)
            except Exception as error:  # noqa: BLE001 - judged by the policy table
                first_failure = begun if first_failure is None else first_failure
                decision = self._classify(error)
                kind = decision.trouble or decision.name
                tries[kind] += 1
                log.info(
                    "embedding call failed", policy=decision.name, trouble=decision.trouble,
                    texts=len(texts), attempt=tries[kind], error=str(error),
                )  # fmt: skip
                # A wrong answer is one: who gave it is not away.
                if decision.is_transient and not isinstance(
                    error, StepTimeoutError | InvalidAnswerError
                ):
                    self._made_breaker().fail(error, decision, begun)
                    if decision.trouble is Trouble.RATE_LIMITED:
                        self._rates = self._rates or Rates()
                        self._rates.refused(begun)
                seconds = loop.time() - first_failure
                attempt = _Attempt(error, decision, tries[kind], relapses, seconds, answered)
                wait = await self._after(attempt, is_alone=len(texts) == 1, length=len(texts[0]))
                await asyncio.sleep(wait)
            else:
                self._answered += 1
                if self._breaker is not None:
                    self._breaker.succeed()
                if self._rates is not None:
                    self._rates.succeeded()
                return vectors

    async def _after(self, attempt: _Attempt, *, is_alone: bool, length: int) -> float:
        """Seconds until the call is made again; raises what :meth:`_insist` does if it is not."""
        error, decision, tries = attempt.error, attempt.decision, attempt.number
        assert self._embedder is not None  # noqa: S101 - there was a call
        name = self._embedder.name
        if isinstance(error, StepTimeoutError):  # a model that hangs, here: the engine goes on
            raise _BlameError(error)
        if decision.action is Action.ABORT:
            if isinstance(error, Lesson15Error) or not _is_answer(error):
                raise error
            if not await self._is_well(attempt):
                return 0.0
            raise _BlameError(RefusedTextError(embedder=name, characters=length, detail=error))
        if decision.name == FILE_NOT_FOUND.name:  # not the document, which is long read
            raise EmbeddingModelError(model=name, detail=error) from error
        if decision.is_transient and decision.trouble is not Trouble.REQUEST_FAILED:
            return self._while_in_trouble(attempt, is_alone=is_alone)
        if decision.name == OUT_OF_MEMORY.name:
            self._hooks.on_pressure(error)
            if not is_alone:
                raise _BlameError(error)  # half as many need half the memory
            if tries <= decision.retries:
                return self._options.retry_delay * tries
            raise _BlameError(RepeatedCallError(error, tries))
        if decision.is_transient:
            if attempt.relapses >= (_RELAPSES if is_alone else _RELAPSES_OF_SEVERAL):
                raise _BlameError(RepeatedCallError(error, tries))
            if tries <= self._options.max_retries:
                return self._options.until_told(decision, self._options.backoff(tries))
        elif not is_alone:
            raise _BlameError(error)
        elif tries <= decision.retries:
            return self._options.retry_delay
        if self._made_breaker().is_open or not await self._is_well(attempt):
            return 0.0
        if decision.retries == 0:
            raise _BlameError(RefusedTextError(embedder=name, characters=length, detail=error))
        raise _BlameError(RepeatedCallError(error, tries))

    def _while_in_trouble(self, attempt: _Attempt, *, is_alone: bool) -> float:
        """As :meth:`_after`, of a service that is away or wants fewer requests."""
        patience = self._options.outage_patience
        is_limited = attempt.decision.trouble is Trouble.RATE_LIMITED
        if is_limited and not is_alone and attempt.number >= _LIMITED_TRIES:
            raise _BlameError(attempt.error)  # the call may be larger than what is ever allowed
        is_too_long = attempt.seconds > patience > 0 and not self._made_breaker().is_open
        most = _RELAPSES if is_alone else _RELAPSES_OF_SEVERAL
        if is_too_long or attempt.relapses >= most:  # others are served all the time
            raise _BlameError(RepeatedCallError(attempt.error, attempt.number))
        return 0.0  # the breaker holds every call back for as long as that takes

    async def _is_well(self, attempt: _Attempt) -> bool:
        """Whether the embedder works; if it does not, the breaker is open now.

        Raises:
            EmbedderRefusedError: it works for no text.
        """
        if self._answered > attempt.answered:
            return True
        try:
            await self._probe()
        except Exception as error:
            if not self._classify(error).is_transient:
                assert self._embedder is not None  # noqa: S101 - there was a call
                raise refusal(self._embedder.name, error) from error
            self._made_breaker().open(error)
            return False
        self._answered += 1
        self._made_breaker().succeed()
        return True

    async def _probe(self) -> None:
        """One small call; raises what it raises."""
        for number in range(_PROBE_TRIES):
            if self._rates is not None:
                await self._rates.admit([PROBE_TEXT])
            try:
                await self._call([PROBE_TEXT])
            except InvalidAnswerError as error:
                if number == _PROBE_TRIES - 1:
                    raise EmbedderRefusedError(
                        model=error.fields["embedder"], detail=error
                    ) from error
            else:
                return

    async def _call(self, texts: list[str]) -> Vectors:
        """Vectors (len(texts) x dimensions); raises InvalidAnswerError if they are none."""
        answer = await self._in_time(partial(self._embed, texts))
        assert self._embedder is not None  # noqa: S101 - it has just answered
        try:
            return as_vectors(answer, len(texts), self._embedder.dimensions)
        except ValueError as error:
            raise InvalidAnswerError(embedder=self._embedder.name, detail=error) from error

    def _embed(self, texts: list[str]) -> Vectors:
        assert self._embedder is not None  # noqa: S101 - calls begin after it is open
        if self.traits.begin_thread is not None and not hasattr(self._begun, "yes"):
            self.traits.begin_thread()
            self._begun.yes = True
        return self._embedder.embed(texts)

    async def _in_time(self, function: Callable[[], T]) -> T:
        """``function()`` in a thread; raises StepTimeoutError if it does not come back in time."""
        limit = asyncio.timeout(self._options.timeout)
        try:
            async with limit:
                return await self._threads.run(function)
        except TimeoutError as error:
            if limit.expired():
                raise StepTimeoutError(
                    step="embed", seconds=self._options.timeout, setting="EMBED_TIMEOUT"
                ) from error
            raise


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A call that failed.

    Attributes:
        number: how often it has failed in this way, since the last outage.
        relapses: outages since the first attempt; after each, the service answered a probe.
        seconds: since the first attempt that failed, since the last outage.
        answered: calls that were answered before this one was made.
    """

    error: Exception
    decision: Decision
    number: int
    relapses: int
    seconds: float
    answered: int


def _is_answer(error: Exception) -> bool:
    """Whether ``error`` is what a service answered, and not trouble on this machine."""
    return http_status(error) is not None or grpc_code(error) is not None
