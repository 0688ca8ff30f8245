"""The port of an embedding model: what one is and says of itself, and how it is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lesson15.errors import EmbeddingModelError
from lesson15.recovery import Decision, TransientHook, exponential_wait
from lesson15.settings import Settings

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """A deterministic map from texts to vectors of length 1.

    What an embedder may say of itself besides, by attributes that are all optional:

    ==========================  ==================================================================
    ``batch_size``              texts in one call, at most; else the setting ``embed_batch_chunks``
    ``threads``                 calls that it stands at the same time, each in a thread; else 1
    ``begin_thread()``          called in each of these threads before its first call
    ``requests_per_minute``     calls that it may be sent; else the setting of that name
    ``tokens_per_minute``       tokens that it may be sent; else the setting of that name
    ``count_tokens(text)``      the tokens of a text, for that limit; else an estimate
    ``folder``                  where its weights lie, for :func:`lesson15.embedding.identity_of`
    ``revision``                the version of a model that is somewhere else
    ==========================  ==================================================================

    What ``embed`` raises is judged by the policy table (:func:`lesson15.recovery.classify`):
    :class:`lesson15.RateLimited` and :class:`lesson15.ServiceUnavailable`, or the errors of the
    usual clients, say that the trouble passes; the call is then made again, and no document
    suffers. See :mod:`lesson15.embedding.calls`.
    """

    name: str

    @property
    def dimensions(self) -> int:
        """The length of a vector; a plain attribute will do."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors (len(texts) x dimensions, float32, normalised), in the order of ``texts``.

        Blocking; called from as many threads at once as ``threads`` says, from one if it does not.
        """
        ...


@dataclass(frozen=True, slots=True)
class Traits:
    """What an embedder says of itself; None where it says nothing."""

    batch_size: int | None = None
    threads: int = 1
    begin_thread: Callable[[], object] | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    count_tokens: Callable[[str], int] | None = None

    @classmethod
    def of(cls, embedder: Embedder) -> Traits:
        """The traits of ``embedder``.

        Raises:
            EmbeddingModelError: one of its attributes cannot be what it has to be.
        """

        def number(name: str, least: float) -> Any:
            value = getattr(embedder, name, None)
            if value is None:
                return None
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or value < least or (least >= 1 and value != int(value)):
                raise EmbeddingModelError(
                    model=embedder.name, detail=f"its {name} is {value!r}: it must be a number"
                )
            return value

        return cls(
            batch_size=number("batch_size", 1),
            threads=number("threads", 1) or 1,
            begin_thread=getattr(embedder, "begin_thread", None),
            requests_per_minute=number("requests_per_minute", 1e-6),
            tokens_per_minute=number("tokens_per_minute", 1e-6),
            count_tokens=getattr(embedder, "count_tokens", None),
        )


def as_vectors(answer: object, count: int, dimensions: int) -> Vectors:
    """``answer`` as ``count`` vectors (count x dimensions, float32).

    Raises:
        ValueError: it cannot be what was asked for.
    """
    try:
        array = np.asarray(answer)
    except (TypeError, ValueError) as error:
        raise ValueError("something else than an array of vectors") from error
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(f"{array.ndim} dimensions of {array.dtype} instead of vectors of numbers")
    if len(array) != count:
        raise ValueError(f"{len(array)} vectors of {count} texts")
    if array.shape[1] != dimensions:
        raise ValueError(f"vectors of length {array.shape[1]}, not {dimensions}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        vectors = array.astype(np.float32, copy=False)
    if not np.isfinite(vectors).all():
        raise ValueError("a vector with a number that is not finite")
    return vectors


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How calls are repeated; the fields are the settings of the same meaning."""

    timeout: float = 300.0
    max_retries: int = 3
    retry_delay: float = 1.0
    max_retry_after: float = 300.0
    breaker_failures: int = 5
    outage_patience: float = 3600.0
    probe_interval: float = 30.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> CallOptions:
        """The options that ``settings`` ask for."""
        return cls(
            timeout=settings.embed_timeout,
            max_retries=settings.max_retries,
            retry_delay=settings.retry_delay,
            max_retry_after=settings.max_retry_after,
            breaker_failures=settings.breaker_failures,
            outage_patience=settings.outage_patience,
            probe_interval=settings.probe_interval,
            requests_per_minute=settings.embed_requests_per_minute,
            tokens_per_minute=settings.embed_tokens_per_minute,
        )

    def until_told(self, decision: Decision, else_seconds: float) -> float:
        """Seconds that the service asked to wait, within bounds, or those given."""
        if decision.retry_after is None:
            return else_seconds
        return min(decision.retry_after, self.max_retry_after)

    def backoff(self, number: int) -> float:
        """Seconds before retry ``number``, from 1: exponential, with jitter."""
        return exponential_wait(self.retry_delay, number)


def _nothing(_what: object) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class CallHooks:
    """Whom to tell, on the event loop.

    Attributes:
        service: the embedder's name, for errors from before it is there.
        on_outage: the service is away, because of this error; every call waits.
        on_recovery: it is back, after so many seconds.
        on_pressure: a call ran out of memory; fewer documents should be in work.
        is_transient: an opinion on errors; see :func:`lesson15.recovery.classify`.
    """

    service: str = "of this batch"
    on_outage: Callable[[Exception], object] = _nothing
    on_recovery: Callable[[float], object] = _nothing
    on_pressure: Callable[[Exception], object] = _nothing
    is_transient: TransientHook | None = None
