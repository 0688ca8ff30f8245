"""Searching from a server: one embedding model for all users, one query at a time through it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from lesson15.checkpoint.manager import CheckpointManager
from lesson15.embedding import Embedder, open_embedder
from lesson15.embedding.base import Vectors
from lesson15.engine.searching import Searcher
from lesson15.errors import BatchNotFoundError, BatchStateError
from lesson15.models import SearchHit

_loading = threading.Lock()


class _LockedEmbedder:
    """Lets several threads use an embedder, which is made for one."""

    def __init__(self, embedder: Embedder) -> None:
        self.name = embedder.name
        self.dimensions = embedder.dimensions
        self._embedder = embedder
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        with self._lock:
            return self._embedder.embed(texts)


@cache
def _open(name: str) -> Embedder:
    return _LockedEmbedder(open_embedder(name))


def search_batch(state_dir: Path, batch_id: str, status: str, text: str, k: int) -> list[SearchHit]:
    """The ``k`` chunks nearest to ``text``; blocks, the first time for as long as a model loads.

    Raises:
        BatchStateError: the batch has not begun yet; ``status`` says what it is.
    """
    try:
        batch = CheckpointManager(state_dir, makes_folder=False).open(batch_id)
        with _loading:
            embedder = _open(batch.manifest.embedder)
        searcher = Searcher.of(batch, embedder)
    except BatchNotFoundError as error:
        raise BatchStateError(batch_id=batch_id, status=status, action="searched") from error
    try:
        return searcher.search(text, k)
    finally:
        searcher.close()
