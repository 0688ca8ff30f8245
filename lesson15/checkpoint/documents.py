"""The two JSON documents of a batch: the manifest (written once) and the checkpoint (each commit).

Both carry a schema version and a checksum, and both are meant to be read by people too.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from lesson15.checkpoint.journal import Position
from lesson15.checkpoint.migrations import SCHEMA_VERSION, migrate
from lesson15.errors import CorruptCheckpointError, StateReadError
from lesson15.models import BatchState

_STATE = TypeAdapter(BatchState)


class Commit(BaseModel):
    """How much of each append-only file counts; what lies beyond is cut off on recovery."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = 0
    journal_bytes: int = 0
    journal_crc: int = 0
    segment_bytes: int = 0
    next_row: int = 0

    @property
    def position(self) -> Position:
        """The committed end of the journal."""
        return Position(self.journal_bytes, self.journal_crc)


class Manifest(BaseModel):
    """What a batch is made of (``sources``, None for a stream) and how it is processed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_id: str
    created_at: datetime
    base_dir: str
    sources: list[str] | None
    embedder: str
    dimensions: int
    store: str
    chunk_chars: int
    chunk_overlap_chars: int


def encode(content: dict[str, Any]) -> bytes:
    """``content`` with schema version and checksum, as readable JSON."""
    body = {"schema_version": SCHEMA_VERSION, **content}
    return orjson.dumps({**body, "checksum": _checksum(body)}, option=orjson.OPT_INDENT_2)


def decode(path: Path) -> dict[str, Any]:
    """The content of the JSON document at ``path``, migrated to the current schema.

    Raises:
        CorruptCheckpointError: not JSON, or the checksum does not match.
        SchemaTooNewError: written by a later lesson15.
        StateReadError: the file cannot be read.
    """
    try:
        content = orjson.loads(path.read_bytes())
    except OSError as error:
        raise StateReadError(path=path, detail=error) from error
    except orjson.JSONDecodeError as error:
        raise CorruptCheckpointError(path=path, detail=f"not JSON: {error}") from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise CorruptCheckpointError(path=path, detail="not a lesson15 checkpoint")
    claimed = content.pop("checksum", None)
    if claimed != _checksum(content):
        raise CorruptCheckpointError(path=path, detail="its checksum does not match")
    return migrate(content, path)


def encode_checkpoint(state: BatchState, commit: Commit) -> bytes:
    """The checkpoint document of ``state`` at ``commit``."""
    written_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return encode({"written_at": written_at, "state": asdict(state), "commit": commit.model_dump()})


def decode_checkpoint(path: Path) -> tuple[BatchState, Commit]:
    """The state and commit at ``path``; raises as :func:`decode` does."""
    content = decode(path)
    try:
        return _STATE.validate_python(content["state"]), Commit(**content["commit"])
    except (ValidationError, KeyError, TypeError) as error:
        raise CorruptCheckpointError(path=path, detail=f"unexpected content: {error}") from error


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest document."""
    return encode({"manifest": manifest.model_dump(mode="json")})


def decode_manifest(path: Path) -> Manifest:
    """The manifest at ``path``; raises as :func:`decode` does."""
    content = decode(path)
    try:
        return Manifest(**content["manifest"])
    except (ValidationError, KeyError, TypeError) as error:
        raise CorruptCheckpointError(path=path, detail=f"unexpected content: {error}") from error


def _checksum(body: dict[str, Any]) -> str:
    return f"{zlib.crc32(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)):08x}"
