"""The two JSON files of a batch: the manifest and the checkpoint, which each commit replaces.

The manifest is written when a batch is made, and replaced when the model is opened for the first
time, or with newer parts than before.

Both carry a schema version and a checksum, and both are meant to be read by people too. Of an
encrypted batch only the outside can be: version, key id, and how much of each file counts.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from lesson15.checkpoint.encryption import Cipher, Encryption, Keyring
from lesson15.checkpoint.filesystem import FileSystem, replace_file
from lesson15.checkpoint.journal import Position
from lesson15.checkpoint.layout import BatchFolder
from lesson15.checkpoint.migrations import SCHEMA_VERSION, migrate
from lesson15.errors import CheckpointWriteError, CorruptCheckpointError
from lesson15.models import BatchState, ScanRules

_STATE = TypeAdapter(BatchState)
_STATE_FIELDS = [field.name for field in fields(BatchState)]


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


class ModelIdentity(BaseModel):
    """What tells a model from another one of the same name.

    Attributes:
        probe: the embedding of a fixed text, as base64 of float32 numbers; see
            :mod:`lesson15.embedding.identity`.
        sha256: of the files of the model, if it has some.
        revision: what the embedder says of itself, if it does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    probe: str
    sha256: str | None = None
    revision: str | None = None


class Manifest(BaseModel):
    """What a batch is made of (``sources``, None for a stream) and how it is processed.

    The defaults are what batches of schema version 2 were made with.

    Attributes:
        identity: which model ``embedder`` names; None until it is opened for the first time.
        versions: of what else decides what a document comes to, by part; see
            :mod:`lesson15.engine.versions`.
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
    scan: ScanRules = ScanRules()
    identity: ModelIdentity | None = None
    versions: dict[str, str] = {}


def encode(content: dict[str, Any]) -> bytes:
    """``content`` with schema version and checksum, as readable JSON."""
    body = {"schema_version": SCHEMA_VERSION, **content}
    return orjson.dumps({**body, "checksum": checksum(body)}, option=orjson.OPT_INDENT_2)


def decode(data: bytes, path: Path) -> dict[str, Any]:
    """The content of the JSON document ``data``, read from ``path``, in the current schema.

    Raises:
        CorruptCheckpointError: not JSON, or the checksum does not match.
        SchemaTooNewError: written by a later lesson15.
    """
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise CorruptCheckpointError(path=path, detail=f"not JSON: {error}") from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise CorruptCheckpointError(path=path, detail="not a lesson15 checkpoint")
    claimed = content.pop("checksum", None)
    if claimed != checksum(content):
        raise CorruptCheckpointError(path=path, detail="its checksum does not match")
    return migrate(content, path)


def decode_checkpoint(
    data: bytes, path: Path, batch_id: str, keyring: Keyring
) -> tuple[BatchState, Commit]:
    """The state and commit in ``data``, read from ``path``, of the batch ``batch_id``.

    Raises:
        BatchKeyError: it is encrypted with another key than those at hand.
        CorruptCheckpointError, SchemaTooNewError: as :func:`decode` does.
    """
    content = decode(data, path)
    try:
        commit = Commit(**content["commit"])
        cipher = keyring.cipher(batch_id, commit.encryption)
        place = "" if cipher is None else _place_of(commit)
        state = _opened("state", content, place, cipher, path)
        return _STATE.validate_python(state), commit
    except (ValidationError, KeyError, TypeError) as error:
        raise CorruptCheckpointError(path=path, detail=f"unexpected content: {error}") from error


def save_checkpoint(
    fs: FileSystem, folder: BatchFolder, state: BatchState, commit: Commit, cipher: Cipher | None
) -> None:
    """Replace the checkpoint in ``folder``, durably; ``state.last_checkpoint`` is set to now.

    Raises:
        CheckpointWriteError: the system refused; the checkpoint before it stays.
    """
    previous, state.last_checkpoint = state.last_checkpoint, time.time()
    clear = {
        "written_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "commit": commit.model_dump(),
    }
    try:
        content = {name: getattr(state, name) for name in _STATE_FIELDS}
        place = "" if cipher is None else _place_of(commit)
        _save(fs, folder.checkpoint, clear, "state", content, cipher, place)
    except CheckpointWriteError:
        state.last_checkpoint = previous
        raise


def save_manifest(
    fs: FileSystem, folder: BatchFolder, manifest: Manifest, keyring: Keyring
) -> None:
    """Write the manifest in ``folder``, durably, under the current key of ``keyring``.

    Raises:
        CheckpointWriteError: the system refused.
    """
    replace_manifest(fs, folder, manifest, keyring, keyring.start())


def replace_manifest(
    fs: FileSystem,
    folder: BatchFolder,
    manifest: Manifest,
    keyring: Keyring,
    encryption: Encryption | None,
) -> None:
    """Write the manifest in ``folder``, durably, encrypted as ``encryption`` says.

    Raises:
        CheckpointWriteError: the system refused; a manifest from before stays.
    """
    cipher = keyring.cipher(manifest.batch_id, encryption)
    clear = {"encryption": encryption and encryption.model_dump()}
    content = manifest.model_dump(mode="json")
    make_folder(fs, folder.data)
    _save(fs, folder.manifest, clear, "manifest", content, cipher, "manifest")


def make_folder(fs: FileSystem, path: Path) -> None:
    """Create ``path`` durably; raises CheckpointWriteError."""
    try:
        fs.make_folder(path)
    except OSError as error:
        raise CheckpointWriteError(path=path, detail=error) from error


def _save(
    fs: FileSystem,
    path: Path,
    clear: dict[str, Any],
    name: str,
    content: dict[str, Any],
    cipher: Cipher | None,
    place: str,
) -> None:
    """Replace the file at ``path`` by ``clear`` and ``content``, which is sealed if it can be."""
    if cipher is None:
        clear[name] = content
    else:
        clear["sealed"] = cipher.seal_text(orjson.dumps(content), place).decode()
    try:
        replace_file(fs, path, encode(clear))
    except OSError as error:
        raise CheckpointWriteError(path=path, detail=error) from error


def generation_of(data: bytes) -> int:
    """The generation that a checkpoint names; 0 if it names none, for any reason."""
    try:
        return int(orjson.loads(data)["commit"]["generation"])
    except (ValueError, KeyError, TypeError):
        return 0  # of schema version 1, or damaged, which decoding it will tell


def decode_manifest(data: bytes, path: Path, batch_id: str, keyring: Keyring) -> Manifest:
    """The manifest in ``data``, read from ``path``; raises as :func:`decode_checkpoint` does."""
    content = decode(data, path)
    try:
        encryption = content["encryption"] and Encryption(**content["encryption"])
        cipher = keyring.cipher(batch_id, encryption)
        return Manifest(**_opened("manifest", content, "manifest", cipher, path))
    except (ValidationError, KeyError, TypeError) as error:
        raise CorruptCheckpointError(path=path, detail=f"unexpected content: {error}") from error


def _place_of(commit: Commit) -> str:
    """Binds the sealed state to its commit, so that the offsets cannot be changed either."""
    return f"checkpoint:{commit.model_dump_json()}"


def _opened(
    name: str, content: dict[str, Any], place: str, cipher: Cipher | None, path: Path
) -> Any:
    if cipher is None:
        return content[name]
    return orjson.loads(cipher.open_text(content["sealed"], place, path))


def checksum(body: dict[str, Any]) -> str:
    """The CRC-32 of ``body``, independent of the order of its keys."""
    return f"{zlib.crc32(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)):08x}"
