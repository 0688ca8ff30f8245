"""The dead-letter list, and what to do about each entry of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.errors import UnreadableDocumentError
from lesson15.models import DocStatus
from lesson15.stores.catalog import IN_TROUBLE, Catalog

_PASSING = frozenset({
    "NetworkTimeoutError", "TimeoutError", "ConnectionError", "ConnectionResetError",
    "ConnectionRefusedError", "ConnectionAbortedError", "BrokenPipeError", "OutOfMemoryError",
    "MemoryError", "WorkerLostError", "RepeatedCallError", "StepTimeoutError", "RateLimited",
    "ServiceUnavailable", "TransientServiceError", "HTTPStatusError", "InvalidAnswerError",
})  # fmt: skip
"""Kinds of errors that a document has no part in."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A document that failed or was skipped.

    Attributes:
        doc_id: its id.
        status: "failed" or "skipped".
        error: what was said.
        error_type: the class of the error; None in batches of old.
        attempts: how often it was tried.
        remedy: what to do.
    """

    doc_id: str
    status: DocStatus
    error: str
    error_type: str | None
    attempts: int
    remedy: str


def dead_letters(batch: StoredBatch) -> Iterator[DeadLetter]:
    """The documents of ``batch`` that failed or were skipped; memory stays flat.

    Raises:
        StorageError: the state is damaged.
    """
    with closing(Catalog.snapshot(batch)) as catalog:
        for verdict in catalog.scan(IN_TROUBLE):
            if verdict.error is not None:
                yield DeadLetter(
                    verdict.doc_id,
                    verdict.status,
                    verdict.error,
                    verdict.error_type,
                    verdict.attempts,
                    _remedy(batch.batch_id, verdict.status, verdict.error_type),
                )


def _remedy(batch_id: str, status: DocStatus, error_type: str | None) -> str:
    if status is DocStatus.SKIPPED:
        return f"Put the file back, then run `lesson15 resume {batch_id}`."
    if error_type in _PASSING:
        return f"The document is not at fault: run `lesson15 retry-failed {batch_id}`."
    if error_type == UnreadableDocumentError.__name__:  # a mended disk shows nowhere
        return f"When it can be read again, run `lesson15 retry-failed {batch_id}`."
    return (
        f"Mend or replace the file, then run `lesson15 resume {batch_id}`, which sees the change."
    )
