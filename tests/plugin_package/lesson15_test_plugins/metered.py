"""An embedder behind a service that limits its callers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lesson15.embedding import HashingEmbedder


class TooManyCallsError(ConnectionError):
    """Too many calls; ``retry_after`` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too many calls: wait {retry_after} s")
        self.retry_after = retry_after


class MeteredEmbedder:
    """Embeds by hashing; of every three calls the second is refused.

    Each call is logged to the file that TEST_METERED_LOG names, if it does.
    """

    name = "metered"
    dimensions = 64

    def __init__(self) -> None:
        self._embedder = HashingEmbedder(self.dimensions)
        self._calls = 0

    def embed(self, texts: Sequence[str]) -> Any:
        is_refused = self._calls % 3 == 1
        self._calls += 1
        if log := os.environ.get("TEST_METERED_LOG"):
            with Path(log).open("a") as file:
                file.write("refused\n" if is_refused else "served\n")
        if is_refused:
            raise TooManyCallsError(retry_after=0.01)
        return self._embedder.embed(texts)
