"""API keys: 256 random bits each, of which only a SHA-256 is kept.

A slow hash such as Argon2 protects passwords, which people choose and dictionaries hold. Nobody
can search 2**256 keys, however fast the hash; a slow one would only make every request slow, and
wrong keys a cheap way to keep the server busy.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from enum import StrEnum

from lesson15.api.database import Database
from lesson15.errors import AuthenticationError, KeyNotFoundError, ServiceError

USER_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
KEY_ID_PATTERN = r"^[0-9a-f]{12}$"


class Role(StrEnum):
    """What a key may do: a student has batches and files, an instructor also metrics and the
    control of faults, an admin also the keys.
    """

    STUDENT = "student"
    INSTRUCTOR = "instructor"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class User:
    """Whose request it is. The name is also that of the user's folder."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What is known of a key; times are seconds since the epoch."""

    key_id: str
    user: str
    role: Role
    created_at: float
    revoked_at: float | None


class KeyStore:
    """The keys in the service's database. A user may have several, to replace one by another."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, user: str, role: Role) -> tuple[str, KeyInfo]:
        """Make a key for ``user``; it is shown this once and cannot be had again.

        Raises:
            ServiceError: ``user`` could not be the name of a folder.
        """
        if not re.fullmatch(USER_PATTERN, user):
            raise ServiceError(
                problem=f"{user!r} is not a user name. Use 1 to 64 lower-case letters, digits, "
                "dots, dashes or underscores, starting with a letter or a digit."
            )
        info = KeyInfo(secrets.token_hex(6), user, role, time.time(), None)
        secret = secrets.token_urlsafe(32)
        self._db.write(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?, NULL)",
            info.key_id, user, role.value, _digest(secret), info.created_at,
        )  # fmt: skip
        return f"l15_{info.key_id}_{secret}", info

    def user_of(self, key: str) -> User:
        """Whose ``key`` is.

        Raises:
            AuthenticationError: it is not one, or was revoked.
        """
        key_id, _, secret = key.removeprefix("l15_").partition("_")
        rows = self._db.read(
            "SELECT user, role, digest FROM keys WHERE key_id = ? AND revoked_at IS NULL", key_id
        )
        # Compared even where there is no such id: the answer takes the same time.
        digest = rows[0]["digest"] if rows else bytes(32)
        if not hmac.compare_digest(_digest(secret), digest):
            raise AuthenticationError
        return User(rows[0]["user"], Role(rows[0]["role"]))

    def list(self) -> list[KeyInfo]:
        """All keys ever made, revoked ones too, oldest first."""
        rows = self._db.read(
            "SELECT key_id, user, role, created_at, revoked_at FROM keys ORDER BY created_at"
        )
        return [KeyInfo(row[0], row[1], Role(row[2]), row[3], row[4]) for row in rows]

    def revoke(self, key_id: str) -> None:
        """Make ``key_id`` invalid, from the next request on.

        Raises:
            KeyNotFoundError: there is no such valid key.
        """
        statement = "UPDATE keys SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL"
        if not self._db.write(statement, time.time(), key_id):
            raise KeyNotFoundError(key_id=key_id)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
