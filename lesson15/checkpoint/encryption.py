"""Encryption at rest: AES-256-GCM under a key of the batch's own, derived from one in a keyring.

Each batch has a random salt; HKDF makes its key of salt and master key, so the random 96-bit nonces
are good for four thousand million messages *per batch*. Nonces are random and not derived from a
place in a file, because after a crash other bytes are written to the same place. The associated
data of each message names batch, file and place, so no ciphertext passes for another.

The package cryptography is imported when a key is first used, so that others do not wait for it.

Sources: NIST SP 800-38D, section 8.3 (nonces); RFC 5869 (HKDF).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lesson15.errors import BatchKeyError, CorruptCheckpointError, InvalidKeyError
from lesson15.settings import Settings

_KEY_BYTES = 32
_NONCE_BYTES = 12
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

OVERHEAD = _NONCE_BYTES + 16
"""Bytes that sealing adds: the nonce and the tag."""


class Encryption(BaseModel):
    """What a batch says in clear about its encryption: which key, the salt, and a check value that
    tells a wrong key from damaged data.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_id: str
    salt: str
    check: str


class Cipher:
    """Seals and opens the data of one batch."""

    def __init__(self, key: bytes, batch_id: str) -> None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._refusals = (InvalidTag, ValueError)
        self._aes = AESGCM(key)
        self._name_key = hmac.digest(key, b"names", "sha256")
        self._batch = batch_id.encode() + b"\0"

    def seal(self, data: bytes, place: str) -> bytes:
        """``data`` encrypted, bound to ``place`` (file and position)."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aes.encrypt(nonce, data, self._batch + place.encode())

    def open(self, sealed: bytes, place: str, path: Path) -> bytes:
        """The inverse of :meth:`seal`.

        Raises:
            CorruptCheckpointError: ``sealed``, from ``path``, was changed, or is of another place.
        """
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._aes.decrypt(nonce, text, self._batch + place.encode())
        except self._refusals as error:
            detail = f"what is encrypted at {place} was changed, or belongs elsewhere"
            raise CorruptCheckpointError(path=path, detail=detail) from error

    def seal_text(self, data: bytes, place: str) -> bytes:
        """As :meth:`seal`, in base64."""
        return base64.b64encode(self.seal(data, place))

    def open_text(self, sealed: bytes | str, place: str, path: Path) -> bytes:
        """The inverse of :meth:`seal_text`; raises as :meth:`open`."""
        try:
            data = base64.b64decode(sealed, validate=True)
        except ValueError:
            data = b""  # refused like any other change
        return self.open(data, place, path)

    def hide(self, name: str) -> str:
        """A keyed hash of ``name``, to look it up by without storing it."""
        return hmac.digest(self._name_key, name.encode(), "sha256").hex()


@dataclass(frozen=True, repr=False)
class Keyring:
    """The keys by id; the first encrypts new batches, the others decrypt old ones.

    Keys are 32 bytes in base64 or hex. ``LESSON15_ENCRYPTION_KEY`` holds one; its id is made from
    its hash. ``LESSON15_ENCRYPTION_KEY_FILE`` names a file with one ``id:key`` a line.
    """

    keys: Mapping[str, bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Keyring({list(self.keys)})"

    @classmethod
    def of(cls, settings: Settings) -> Keyring:
        """The keyring that ``settings`` name, empty if they name none.

        Raises:
            InvalidKeyError: a key, or the file, is not as it should be; keys are not shown.
        """
        if settings.encryption_key is not None and settings.encryption_key_file is not None:
            raise InvalidKeyError(
                source="LESSON15_ENCRYPTION_KEY and LESSON15_ENCRYPTION_KEY_FILE",
                detail="both are set; keep one",
            )
        if settings.encryption_key is not None:
            source = "LESSON15_ENCRYPTION_KEY"
            key = _parse_key(settings.encryption_key.get_secret_value(), source)
            return cls({f"key-{hashlib.sha256(key).hexdigest()[:8]}": key})
        if settings.encryption_key_file is not None:
            return cls(_read_keys(settings.encryption_key_file))
        return cls()

    @property
    def current(self) -> str | None:
        """The id of the key for new batches; None: they are not encrypted."""
        return next(iter(self.keys), None)

    def start(self) -> Encryption | None:
        """The encryption of a new batch, under the current key."""
        if self.current is None:
            return None
        salt = os.urandom(16)
        _, check = _derive(self.keys[self.current], salt)
        return Encryption(key_id=self.current, salt=salt.hex(), check=check)

    def cipher(self, batch_id: str, encryption: Encryption | None) -> Cipher | None:
        """The cipher of a batch that says ``encryption`` of itself; None if it is not encrypted.

        Raises:
            BatchKeyError: the key is missing, or another one has its id.
        """
        if encryption is None:
            return None
        if encryption.key_id not in self.keys:
            raise BatchKeyError(
                batch_id=batch_id, key_id=encryption.key_id, detail="which is not at hand"
            )
        key, check = _derive(self.keys[encryption.key_id], bytes.fromhex(encryption.salt))
        if check != encryption.check:
            raise BatchKeyError(
                batch_id=batch_id,
                key_id=encryption.key_id,
                detail="and the key that is set under this id is another one",
            )
        return Cipher(key, batch_id)


def _derive(key: bytes, salt: bytes) -> tuple[bytes, str]:
    """The batch's key, and the check value."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    made = HKDF(SHA256(), _KEY_BYTES + 8, salt, b"lesson15 batch").derive(key)
    return made[:_KEY_BYTES], made[_KEY_BYTES:].hex()


def _parse_key(text: str, source: str) -> bytes:
    text = text.strip()
    try:
        is_hex = len(text) == 2 * _KEY_BYTES
        key = bytes.fromhex(text) if is_hex else base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise InvalidKeyError(source=source, detail="it is not 32 bytes in base64 or hex")
    return key


def _read_keys(path: Path) -> dict[str, bytes]:
    source = f"LESSON15_ENCRYPTION_KEY_FILE={path}"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidKeyError(source=source, detail=f"it cannot be read: {error}") from error
    keys: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        key_id, colon, text = line.strip().partition(":")
        where = f"{source}, line {number}"
        if not colon or not _KEY_ID.fullmatch(key_id):
            raise InvalidKeyError(source=where, detail="it is not `id:key`")
        if key_id in keys:
            raise InvalidKeyError(source=where, detail=f"the id {key_id} is there twice")
        keys[key_id] = _parse_key(text, where)
    if not keys:
        raise InvalidKeyError(source=source, detail="there is no key in it")
    return keys
