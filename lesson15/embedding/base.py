"""The port of an embedding model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lesson15.errors import EmbeddingModelError

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
