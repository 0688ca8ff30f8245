"""Which model it is: its name is not enough, as other weights can hide under the same one.

Two kinds of evidence. The hash of the weights is exact, but only to be had of files on this
machine, and says nothing of a service. A probe vector, the embedding of a fixed text, can be had of
any embedder; computers and precisions differ a little in it, and models a lot.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lesson15.embedding.base import Embedder, Vectors

PROBE = "The harbour lies quiet; 港口很安静。 Crème brûlée, 42 km."
TOLERANCE = 3e-4
"""Cosine distance of two probe vectors that may still be of one model. Of MiniLM, half precision
makes 8e-7 and bfloat16 6e-5; noise of one per cent on the weights 6e-4, int8 weights 0.1."""

_DECIMALS = 5
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.onnx")
_SETTINGS = ("*.json", "*.txt", "*.model")


def identity_of(embedder: Embedder) -> dict[str, Any]:
    """What ``embedder`` is, as JSON-ready values.

    Returns:
        "name" and "dimensions"; "sha256" of weights and configuration if it has a ``folder``;
        "revision" if it has one.
    """
    identity: dict[str, Any] = {"name": embedder.name, "dimensions": int(embedder.dimensions)}
    folder = getattr(embedder, "folder", None)
    if folder is not None:
        identity["sha256"] = hash_of_folder(Path(folder))
    revision = getattr(embedder, "revision", None)
    if revision is not None:
        identity["revision"] = str(revision)
    return identity


def hash_of_folder(folder: Path) -> str:
    """SHA-256, in hex, of the names and contents of the files that make a model.

    A file is read once in a process as long as its size and time stay the same.
    """
    files = {path for kind in (*_WEIGHTS, *_SETTINGS) for path in folder.rglob(kind)}
    total = hashlib.sha256()
    for path in sorted(files):
        if path.is_file():
            status = path.stat()
            digest = _hash_of_file(path, status.st_size, status.st_mtime_ns, status.st_ino)
            total.update(f"{path.relative_to(folder).as_posix()}\0{digest}\n".encode())
    return total.hexdigest()


@lru_cache(maxsize=1024)
def _hash_of_file(path: Path, _size: int, _mtime_ns: int, _inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def probe_vector(embedder: Embedder) -> list[float]:
    """The vector (dimensions) of a fixed short text, rounded; raises what the embedder does."""
    return rounded(embedder.embed([PROBE])[0])


def rounded(vector: Sequence[float] | Vectors) -> list[float]:
    """``vector`` as plain numbers, to the digits that computers agree on."""
    return [round(float(value), _DECIMALS) for value in np.asarray(vector, np.float64).ravel()]


def packed(vector: Sequence[float]) -> str:
    """``vector`` as a manifest keeps it: base64 of float32 numbers, little-endian."""
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()


def unpacked(text: str) -> list[float]:
    """The vector that :func:`packed` made ``text`` of; empty if it is none."""
    try:
        return [float(value) for value in np.frombuffer(base64.b64decode(text), "<f4")]
    except ValueError:
        return []


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine distance of two vectors; infinite where they cannot be compared."""
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if first.shape != second.shape or first.ndim != 1:
        return float("inf")
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    if not np.isfinite(lengths) or lengths == 0:
        return float("inf")
    return float(1 - first @ second / lengths)


def same_model(
    stored: Sequence[float], probe: Sequence[float], tolerance: float = TOLERANCE
) -> bool:
    """Whether two probe vectors are of the same model.

    Another processor, batch size or floating-point precision passes; other weights do not, unless
    they differ so little that searches do not either.
    """
    return distance(stored, probe) <= tolerance
