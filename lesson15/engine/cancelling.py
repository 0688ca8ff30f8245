"""Which calls of a processor are to stop, from their first moment on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from lesson15.errors import UsageError


class Cancellations:
    """The batches that are being worked on, and which of them are to stop.

    A call is known before its batch is open: who cancels it then stops it as soon as it is.
    """

    def __init__(self) -> None:
        self._is_cancelled: dict[str, bool] = {}

    @contextmanager
    def call(self, batch_id: str) -> Iterator[None]:
        """Know of a call that works on ``batch_id``; one within it is part of it."""
        if batch_id in self._is_cancelled:
            yield
            return
        self._is_cancelled[batch_id] = False
        try:
            yield
        finally:
            del self._is_cancelled[batch_id]

    def cancel(self, batch_id: str | None) -> list[str]:
        """Have ``batch_id``, or every batch, stop; the batches that this concerns.

        Raises:
            UsageError: nobody works on it.
        """
        if batch_id is not None and batch_id not in self._is_cancelled:
            raise not_active(batch_id, self._is_cancelled)
        batches = list(self._is_cancelled) if batch_id is None else [batch_id]
        for name in batches:
            self._is_cancelled[name] = True
        return batches

    def has(self, batch_id: str) -> bool:
        """Whether ``batch_id`` is to stop."""
        return self._is_cancelled.get(batch_id, False)


def not_active(batch_id: str, active: Iterable[str]) -> UsageError:
    """The error that says that nobody works on ``batch_id``."""
    return UsageError(problem=f"Batch {batch_id!r} is not active. Active now: {sorted(active)}.")
