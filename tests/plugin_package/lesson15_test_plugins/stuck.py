"""An embedder and a step that never come back from a document that says so."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lesson15.embedding import HashingEmbedder
from lesson15.models import Chunk


def hang() -> None:
    """Never return, and say so in the file that TEST_STUCK_LOG names, if it does."""
    if log := os.environ.get("TEST_STUCK_LOG"):
        Path(log).touch()
    while True:
        time.sleep(3600)


def _hang_if_told(texts: Sequence[str]) -> None:
    if any("never come back" in text for text in texts):
        hang()


class StuckEmbedder(HashingEmbedder):
    """Embeds by hashing, what lets it."""

    name = "stuck"
    dimensions = 256

    def embed(self, texts: Sequence[str]) -> Any:
        _hang_if_told(texts)
        return super().embed(texts)


def stuck(chunks: Sequence[Chunk]) -> Sequence[Chunk]:
    """The same chunks."""
    _hang_if_told([chunk.text for chunk in chunks])
    return chunks
