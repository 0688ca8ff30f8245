"""The service's own SQLite file: API keys and the queue of batches."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    key_id TEXT PRIMARY KEY, user TEXT NOT NULL, role TEXT NOT NULL, digest BLOB NOT NULL,
    created_at REAL NOT NULL, revoked_at REAL
);
CREATE TABLE IF NOT EXISTS jobs (
    user TEXT, batch_id TEXT, kind TEXT NOT NULL, paths TEXT NOT NULL, total_files INT NOT NULL,
    state TEXT NOT NULL, error TEXT, submitted_at REAL NOT NULL, is_notified INT NOT NULL,
    PRIMARY KEY (user, batch_id)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


def database_path(state_dir: Path) -> Path:
    """Where keys and queue are kept."""
    return state_dir / "service.sqlite"


class Database:
    """Safe to use from several threads; a write is durable when it returns.

    Reads have a connection of their own: a key is looked up on the event loop, which must not wait
    until a write in another thread has reached the disk.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._writer = _Connection(path)
        self._writer.db.executescript(_SCHEMA)
        self._reader = _Connection(path)

    def read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of ``query``."""
        with self._reader.lock:
            return self._reader.db.execute(query, values).fetchall()

    def write(self, statement: str, *values: Any) -> int:
        """The number of rows that ``statement`` changed."""
        with self._writer.lock:
            return self._writer.db.execute(statement, values).rowcount

    def close(self) -> None:
        """Close the connections."""
        for connection in (self._reader, self._writer):
            with connection.lock:
                connection.db.close()


class _Connection:
    """A connection, and the lock of whoever uses it."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.db.row_factory = sqlite3.Row
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
