"""Single calls of an embedder, outside the run of a batch: to search, and to see which model it is.

A run has its own, more patient way to make calls again: :mod:`lesson15.embedding.calls`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from lesson15.embedding.base import Embedder, Traits, Vectors
from lesson15.embedding.breaker import refusal
from lesson15.errors import EmbedderAwayError, Lesson15Error
from lesson15.recovery import classify

_TRIES = 3
_LONGEST_WAIT = 10.0


def ask(
    embedder: Embedder, texts: Sequence[str], sleep: Callable[[float], None] = time.sleep
) -> Vectors:
    """The vectors of ``texts``, by one call, which is made again while its trouble may pass.

    Raises:
        EmbedderAwayError: a service did not answer, three times.
        EmbedderRefusedError: the embedder refuses, or is broken.
        Lesson15Error: what it raises of that kind.
    """
    for number in range(_TRIES):
        try:
            return embedder.embed(list(texts))
        except Exception as error:
            decision = classify(error)
            if not decision.is_transient:
                if isinstance(error, Lesson15Error):
                    raise
                raise refusal(embedder.name, error) from error
            if number == _TRIES - 1:
                detail = str(error) or type(error).__name__
                raise EmbedderAwayError(embedder=embedder.name, detail=detail) from error
            sleep(min(decision.retry_after or 0.5 * 2.0**number, _LONGEST_WAIT))
    raise AssertionError


def call_in_thread(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """The vectors of ``texts``, by one call in a thread of its own, prepared as the engine's are.

    Raises:
        Exception: what the embedder raises.
    """
    begin = Traits.of(embedder).begin_thread
    vectors: list[Vectors] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            if begin is not None:
                begin()
            vectors.append(embedder.embed(list(texts)))
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            errors.append(error)

    thread = threading.Thread(target=work, name="lesson15-probe", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return vectors[0]
