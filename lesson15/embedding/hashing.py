"""A deterministic embedder without a model: signed feature hashing of character n-grams.

Source: Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009.
Texts that share words come out near each other, which is all that tests and timing need.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from lesson15.embedding.base import Vectors

_TOKEN = re.compile(r"[㐀-鿿]|\w+", re.UNICODE)


class HashingEmbedder:
    """Words, and single CJK characters, hashed into ``dimensions`` signed buckets."""

    name = "hashing"

    def __init__(self, dimensions: int = 256) -> None:
        self.dimensions = dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors (len(texts) x dimensions, float32, normalised)."""
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for token in _TOKEN.findall(text.lower()):
                code = zlib.crc32(token.encode())
                row[code % self.dimensions] += 1.0 if code & 0x8000_0000 else -1.0
            norm = np.linalg.norm(row)
            if norm:
                row /= norm
            else:
                row[0] = 1.0  # no token at all, or all cancel: still a unit vector
        return vectors
