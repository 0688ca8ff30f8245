"""The embedder is at fault; see :mod:`lesson15.recovery` and :mod:`lesson15.embedding.calls`."""

# ruff: noqa: D101 - __init_subclass__ makes the docstring of a class from its message

from __future__ import annotations

from lesson15.errors.base import Lesson15Error
from lesson15.errors.system import EmbeddingModelError, StorageError
from lesson15.errors.usage import UsageError


class TransientServiceError(Lesson15Error):
    """A service did not serve this time.

    Args:
        detail: what it said.
        retry_after: seconds that it asked to wait, None if it did not say.
    """

    message = "{detail}"

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(detail=detail, retry_after=retry_after)


class RateLimited(TransientServiceError):  # noqa: N818 - a public name that says what happened
    """The service wants fewer requests."""

    message = "{detail}"

    def __init__(
        self, retry_after: float | None = None, detail: str = "The service wants fewer requests."
    ) -> None:
        super().__init__(detail, retry_after)


class ServiceUnavailable(TransientServiceError):  # noqa: N818 - as RateLimited
    """The service is away."""

    message = "{detail}"

    def __init__(
        self, detail: str = "The service is away.", retry_after: float | None = None
    ) -> None:
        super().__init__(detail, retry_after)


class InvalidAnswerError(Lesson15Error):
    embedder: object
    detail: object
    message = "The embedder {embedder!r} gave {detail}."


class RepeatedCallError(Lesson15Error):
    """A call failed each time that it was made; ``attempts`` counts them."""

    message = "{kind}: {error} (the call of the embedder was made {attempts} times)"

    def __init__(self, error: Exception, attempts: int, kind: str = "") -> None:
        self.error = error
        self.attempts = attempts
        super().__init__(error=error, attempts=attempts, kind=kind or type(error).__name__)


class RefusedTextError(Lesson15Error):
    embedder: object
    characters: int
    detail: object
    message = """
    The embedder {embedder!r} accepts other texts and refuses a chunk of {characters} characters of
    this document ({detail}). Lower LESSON15_CHUNK_CHARS if it is too long.
    """


class ServiceOutageError(StorageError):
    embedder: object
    seconds: object
    detail: object
    message = """
    The embedding service {embedder!r} has been away for {seconds} s ({detail}). What was committed
    is safe: run `lesson15 resume` once it is back, or raise LESSON15_OUTAGE_PATIENCE to wait
    longer.
    """


class EmbedderRefusedError(EmbeddingModelError):
    model: str
    detail: object
    message = """
    The embedder {model!r} refuses every text ({detail}). Check its address, its model and its key;
    then run `lesson15 resume`.
    """


class EmbedderAwayError(StorageError):
    embedder: object
    detail: object
    message = """
    The embedding service {embedder!r} does not answer ({detail}). Nothing was changed: try again
    once it is back.
    """


class OtherModelError(EmbeddingModelError):
    batch_id: str
    model: str
    detail: object
    message = """
    Batch {batch_id!r} was made with another model than the one that {model!r} names now ({detail}):
    their vectors cannot be compared. Put the former model back, or run `lesson15 resume {batch_id}
    --reembed`, which does everything again with this one.
    """


class EmbedderNameError(UsageError):
    name: object
    detail: object
    form: object
    message = "The embedder {name!r} cannot be used: {detail}. Give {form}."
