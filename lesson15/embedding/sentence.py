"""Any model folder of sentence-transformers, from the local disk.

Source: https://www.sbert.net. Nothing is fetched from a model hub, and no code that a folder brings
along is run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lesson15.embedding.base import Vectors
from lesson15.errors import EmbedderNameError, EmbeddingModelError

PREFIX = "path:"
_CHUNKS_ON_A_GPU = 64


class SentenceTransformerEmbedder:
    """A model on the CPU, or on whatever device sentence-transformers finds.

    Args:
        folder: where the model lies.
        name: what the embedder and messages call it; the folder by default.
        batch_size: texts that are padded to the same length together.

    Raises:
        EmbeddingModelError: the files are missing or damaged.
    """

    def __init__(self, folder: Path, name: str | None = None, batch_size: int = 8) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self.folder = folder
        self.name = name or PREFIX + str(folder)
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar

            disable_progress_bar()  # type: ignore[no-untyped-call]
            self.model = SentenceTransformer(str(folder))
            # The tokenizer takes its settings at the first call, and must not while others use it.
            vectors = self.model.encode(["ready"], show_progress_bar=False)
        except Exception as error:  # each format of weights has errors of its own
            detail = f"{type(error).__name__}: {error}"
            raise EmbeddingModelError(model=self.name, detail=detail) from error
        self.dimensions = int(vectors.shape[1])
        is_cpu = self.model.device.type == "cpu"
        self.threads = (os.cpu_count() or 1) if is_cpu else 1
        self.batch_size = None if is_cpu else _CHUNKS_ON_A_GPU
        self._padded_together = batch_size if is_cpu else max(batch_size, _CHUNKS_ON_A_GPU)

    def begin_thread(self) -> None:
        """Have PyTorch compute in this thread alone: the engine keeps every core busy itself."""
        if self.threads > 1:
            import torch

            torch.set_num_threads(1)  # of this thread: others keep theirs

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors (len(texts) x dimensions, float32, normalised)."""
        vectors = self.model.encode(
            list(texts),
            batch_size=self._padded_together,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)


def folder_of(name: str) -> Path:
    """The absolute folder that the embedder ``path:FOLDER`` means.

    Raises:
        EmbedderNameError: there is no model of sentence-transformers in it.
    """
    given = name.removeprefix(PREFIX)
    if not given.strip():
        raise EmbedderNameError(name=name, detail="no folder is named", form="path:FOLDER")
    folder = Path(os.path.abspath(Path(given).expanduser()))  # noqa: PTH100 - a link stays one
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise EmbedderNameError(
            name=name, detail=f"{folder} {what}", form="path:FOLDER with an existing folder"
        )
    if not any((folder / file).is_file() for file in ("modules.json", "config.json")):
        raise EmbedderNameError(
            name=name,
            detail=f"{folder} holds no model: neither modules.json nor config.json is in it",
            form="path:FOLDER with the folder that SentenceTransformer.save_pretrained wrote",
        )
    return folder


def dimensions_in(folder: Path) -> int | None:
    """The vector length that the configuration in ``folder`` states; None if it does not."""
    modules = _read(folder / "modules.json")
    for module in reversed(modules if isinstance(modules, list) else []):
        config = _read(folder / str(module.get("path", "")) / "config.json")
        kind = str(module.get("type", "")).rpartition(".")[2]
        if not isinstance(config, dict):
            continue
        if kind == "Dense":
            return _count(config.get("out_features"))
        if kind == "Pooling":
            width = _count(
                config.get("word_embedding_dimension", config.get("embedding_dimension"))
            )
            modes = sum(value is True for key, value in config.items() if "pooling_mode_" in key)
            named = str(config.get("pooling_mode") or "").split("+")
            return None if width is None else width * max(modes, len(named))
    return None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
