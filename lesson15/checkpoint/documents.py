"""The two JSON documents of a batch: the manifest (written once) and the checkpoint (each commit).

Both carry a schema version and a checksum, and both are meant to be read by people too. Of an
encrypted batch only the outside can be: version, key id, and how much of each file counts.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from lesson15.checkpoint.encryption import Cipher, Encryption
from lesson15.checkpoint.journal import Position
from lesson15.checkpoint.migrations import SCHEMA_VERSION, migrate
from lesson15.errors import CorruptCheckpointError, StateReadError
from lesson15.models import BatchState

_STATE = TypeAdapter(BatchState)
CipherOf = Callable[[Encryption | None], Cipher | None]
"""Gives the cipher of a batch that says so of its encryption."""


class Commit(BaseModel):
    """How much of each append-only file counts; what lies beyond is cut off on recovery.

    ``generation`` counts how often the batch was written anew, which tells where its files lie;
    ``encryption`` is how they are encrypted, None for not at all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = 0
    journal_bytes: int = 0
    journal_crc: int = 0
    segment_bytes: int = 0
    next_row: int = 0
    generation: int = 0
    encryption: Encryption | None = None

    @property
    def position(self) -> Position:
        """The committed end of the journal."""
        return Position(self.journal_bytes, self.journal_crc)


class Manifest(BaseModel):
    """What a batch is made of (``sources``, None for a stream) and how it is processed.

    The defaults are what batches of schema version 2 were made with.
    """

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
    chunker: str = "default"
    steps: tuple[str, ...] = ()


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


def encode_checkpoint(state: BatchState, commit: Commit, cipher: Cipher | None) -> bytes:
    """The checkpoint document of ``state`` at ``commit``."""
    written_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    body = _closed("state", asdict(state), _place_of(commit), cipher)
    return encode({"written_at": written_at, **body, "commit": commit.model_dump()})


def decode_checkpoint(path: Path, cipher_of: CipherOf) -> tuple[BatchState, Commit]:
    """The state and commit at ``path``.

    Raises:
        BatchKeyError: it is encrypted with another key than those at hand.
        CorruptCheckpointError, SchemaTooNewError, CheckpointWriteError: as :func:`decode` does.
    """
    content = decode(path)
    try:
        commit = Commit(**content["commit"])
        state = _opened("state", content, _place_of(commit), cipher_of(commit.encryption), path)
        return _STATE.validate_python(state), commit
    except (ValidationError, KeyError, TypeError) as error:
        raise CorruptCheckpointError(path=path, detail=f"unexpected content: {error}") from error


def generation_of(path: Path) -> int:
    """The generation that the checkpoint at ``path`` names; 0 if it names none, for any reason."""
    try:
        return int(orjson.loads(path.read_bytes())["commit"]["generation"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # a new batch, or of version 1, or damaged, which loading it will tell


def encode_manifest(
    manifest: Manifest, encryption: Encryption | None, cipher: Cipher | None
) -> bytes:
    """The manifest document."""
    body = _closed("manifest", manifest.model_dump(mode="json"), "manifest", cipher)
    return encode({"encryption": encryption and encryption.model_dump(), **body})


def decode_manifest(path: Path, cipher_of: CipherOf) -> Manifest:
    """The manifest at ``path``; raises as :func:`decode_checkpoint` does."""
    content = decode(path)
    try:
        encryption = content["encryption"] and Encryption(**content["encryption"])
        return Manifest(**_opened("manifest", content, "manifest", cipher_of(encryption), path))
    except (ValidationError, KeyError, TypeError) as error:
        raise CorruptCheckpointError(path=path, detail=f"unexpected content: {error}") from error


def _place_of(commit: Commit) -> str:
    """Binds the sealed state to its commit, so that the offsets cannot be changed either."""
    return f"checkpoint:{commit.model_dump_json()}"


def _closed(
    name: str, content: dict[str, Any], place: str, cipher: Cipher | None
) -> dict[str, Any]:
    if cipher is None:
        return {name: content}
    return {"sealed": cipher.seal_text(orjson.dumps(content), place).decode()}


def _opened(
    name: str, content: dict[str, Any], place: str, cipher: Cipher | None, path: Path
) -> Any:
    if cipher is None:
        return content[name]
    return orjson.loads(cipher.open_text(content["sealed"], place, path))


def _checksum(body: dict[str, Any]) -> str:
    return f"{zlib.crc32(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)):08x}"
