"""Searching from a server: one embedding model for all users, one query at a time through it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from lesson15.checkpoint.manager import CheckpointManager
from lesson15.embedding import Embedder, open_embedder
from lesson15.embedding.base import Vectors
from lesson15.embedding.identity import PROBE
from lesson15.engine.searching import Searcher
from lesson15.errors import BatchNotFoundError, BatchStateError
from lesson15.models import SearchHit

_PROBE_SECONDS = 60.0
_loading = threading.Lock()


class _LockedEmbedder:
    """Lets several threads use an embedder, which is made for one.

    Each search sees which model it is; the answer to that holds for a while.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.name = embedder.name
        self.dimensions = embedder.dimensions
        self._embedder = embedder
        self._lock = threading.Lock()
        self._probe: tuple[float, Vectors] | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        with self._lock:
            if list(texts) != [PROBE]:
                return self._embedder.embed(texts)
            if self._probe is None or time.monotonic() - self._probe[0] > _PROBE_SECONDS:
                self._probe = time.monotonic(), self._embedder.embed(texts)
            return self._probe[1]


@cache
def _opened(name: str) -> Embedder:
    return _LockedEmbedder(open_embedder(name))


def _open(name: str, _dimensions: int) -> Embedder:
    """The embedder of all users, loaded once."""
    with _loading:
        return _opened(name)


def search_batch(state_dir: Path, batch_id: str, status: str, text: str, k: int) -> list[SearchHit]:
    """The ``k`` chunks nearest to ``text``; blocks, the first time for as long as a model loads.

    Raises:
        BatchStateError: the batch has not begun yet; ``status`` says what it is.
    """
    try:
        batch = CheckpointManager(state_dir, makes_folder=False).open(batch_id)
        searcher = Searcher.of(batch, opener=_open)
    except BatchNotFoundError as error:
        raise BatchStateError(batch_id=batch_id, status=status, action="searched") from error
    try:
        return searcher.search(text, k)
    finally:
        searcher.close()
