"""Checks of an installation, each with what to do about it."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lesson15.checkpoint.filesystem import OsFileSystem, replace_file
from lesson15.embedding.minilm import MiniLMEmbedder
from lesson15.errors import EmbeddingModelError

_PACKAGES = ("torch", "sentence-transformers", "faiss-cpu", "pypdf", "python-docx", "selectolax")
_LOW_DISK_BYTES = 1024**3


def examine(state_dir: Path) -> list[dict[str, Any]]:
    """One entry ``{name, ok, detail}`` per check; the model is loaded and used for real."""
    checks = [_check("python", sys.version_info >= (3, 11), sys.version.split()[0])]
    for package in _PACKAGES:
        try:
            checks.append(_check(package, True, version(package)))
        except PackageNotFoundError:
            checks.append(_check(package, False, f"install it with `pip install {package}`"))
    checks.append(_examine_model())
    checks.append(_examine_state(state_dir))
    return checks


def _check(name: str, ok: bool, detail: object) -> dict[str, Any]:  # noqa: FBT001, RUF100 - internal
    return {"name": name, "ok": ok, "detail": str(detail)}


def _examine_model() -> dict[str, Any]:
    try:
        vectors = MiniLMEmbedder().embed(
            ["a cat sat on the mat", "a kitten rests on a rug", "interest rates rose in May"]
        )
    except EmbeddingModelError as error:
        return _check("model", False, error)
    related, unrelated = vectors[1:] @ vectors[0]
    return _check("model", related > unrelated, "all-MiniLM-L6-v2 loads and tells texts apart")


def _examine_state(state_dir: Path) -> dict[str, Any]:
    probe = state_dir / ".doctor"
    try:
        OsFileSystem().make_folder(state_dir)
        replace_file(OsFileSystem(), probe, b"probe")
        probe.unlink()
    except OSError as error:
        return _check("state folder", False, f"{state_dir} cannot be written: {error}")
    free = shutil.disk_usage(state_dir).free
    return _check(
        "state folder", free > _LOW_DISK_BYTES, f"{state_dir}, {free / 1024**3:.1f} GiB free"
    )
