"""An embedder without a model: letter triples, hashed, so that misspelt words stay near."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class TrigramEmbedder:
    """Counts of letter triples in 512 buckets."""

    name = "trigrams"
    dimensions = 512

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (len(texts) x 512, float32, normalised)."""
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            padded = f"  {text.lower()} "
            for start in range(len(padded) - 2):
                vector[zlib.crc32(padded[start : start + 3].encode()) % self.dimensions] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
