"""Checkpoint schema versions. A migration lifts a document by one version and is never edited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lesson15.errors import CorruptCheckpointError, SchemaTooNewError

Document = dict[str, Any]

SCHEMA_VERSION = 4


def _without_encryption(document: Document) -> Document:
    """From 1 to 2: version 1 knew no encryption and never wrote a batch anew."""
    if "commit" in document:
        commit = {**document["commit"], "generation": 0, "encryption": None}
        return {**document, "commit": commit}
    return {**document, "encryption": None}


def _with_default_pipeline(document: Document) -> Document:
    """From 2 to 3: version 2 knew one chunker, no steps, and no chunks but plain strings.

    An encrypted manifest cannot be lifted here; the defaults of its model say the same.
    """
    if "manifest" in document:
        manifest = {**document["manifest"], "chunker": "default", "steps": []}
        return {**document, "manifest": manifest}
    return document


def _without_identity(document: Document) -> Document:
    """From 3 to 4: version 3 did not know which model a name stood for, nor versions of parts.

    The defaults of the manifest's model say so.
    """
    return document


MIGRATIONS: dict[int, Callable[[Document], Document]] = {
    1: _without_encryption,
    2: _with_default_pipeline,
    3: _without_identity,
}
"""From a version to the function that makes the next one of it."""


def migrate(content: Document, path: Path, target: int = SCHEMA_VERSION) -> Document:
    """``content`` lifted to schema version ``target``; ``path`` is for the messages.

    Raises:
        SchemaTooNewError: the document is newer than ``target``.
        CorruptCheckpointError: its version is not one that lesson15 ever wrote.
    """
    version = content["schema_version"]
    if not isinstance(version, int) or version < 1:
        raise CorruptCheckpointError(path=path, detail=f"schema version {version!r}")
    if version > target:
        raise SchemaTooNewError(path=path, found=version, supported=target)
    while version < target:
        content = {**MIGRATIONS[version](content), "schema_version": version + 1}
        version += 1
    return content
