"""The catalogue: a SQLite table of every settled document, derived from the committed journal.

It answers "was this document done, and is it unchanged?" and "whose is this row?" without holding
a batch in memory. It is applied after each commit; the journal position it reflects is kept in the
same transaction, so a lost or stale catalogue catches up, or is rebuilt, from the journal. Of an
encrypted batch ``doc_id`` is a keyed hash and ``detail`` is sealed; verdicts and chunk counts are
in clear.
"""

from __future__ import annotations

import sqlite3
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from lesson15.checkpoint.documents import Commit
from lesson15.checkpoint.encryption import Cipher
from lesson15.checkpoint.journal import Position, Record, read_journal
from lesson15.checkpoint.layout import BatchFolder
from lesson15.checkpoint.segment import BlockRef
from lesson15.errors import CatalogError, CorruptCheckpointError
from lesson15.models import Failure

_SCHEMA = """
CREATE TABLE IF NOT EXISTS docs (
    doc_id TEXT PRIMARY KEY, status TEXT, chunks INT, detail TEXT, first_row INT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS docs_by_row ON docs (first_row) WHERE first_row IS NOT NULL;
CREATE INDEX IF NOT EXISTS docs_in_trouble ON docs (doc_id) WHERE status <> 'done';
CREATE TABLE IF NOT EXISTS applied (one INT PRIMARY KEY, offset INT, crc INT);
"""
_UPSERT = "INSERT OR REPLACE INTO docs VALUES (?, ?, ?, ?, ?)"
_BATCH = 1000


class CatalogRow(NamedTuple):
    """One settled document. ``record`` is its journal record."""

    doc_id: str
    status: str
    chunks: int
    record: Record | None

    @property
    def fingerprint(self) -> list[int] | None:
        """Size and times of the file when it was settled."""
        return self.record.get("fp") if self.record else None

    @property
    def sha256(self) -> str | None:
        """Hash of the file's bytes when it was done."""
        return self.record.get("sha") if self.record else None

    @property
    def first_row(self) -> int:
        """The row of the first vector."""
        assert self.record is not None  # noqa: S101 - only documents with chunks are asked
        return int(self.record["row"])

    @property
    def block(self) -> BlockRef:
        """Where vectors and texts lie in the segment."""
        assert self.record is not None  # noqa: S101 - only documents with chunks are asked
        return BlockRef(*self.record["seg"])


class Catalog:
    """The table of one batch. A connection belongs to the thread that uses it, one at a time."""

    def __init__(self, path: Path | str, cipher: Cipher | None = None) -> None:
        self._path = Path(path)
        self._cipher = cipher
        self._seal: Path | None = None
        with self._named_errors():
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")  # derived: a lost tail comes again
                self._db.executescript(_SCHEMA)
            except sqlite3.Error:
                self._db.close()
                raise

    @classmethod
    def recover(cls, folder: BatchFolder, commit: Commit, cipher: Cipher | None = None) -> Catalog:
        """Open the catalogue of ``folder`` and bring it to ``commit``, rebuilding it if need be.

        SQLite does not checksum its pages, so a file is used only if it is as :meth:`close` sealed
        it; what a crash or other damage left is made anew from the journal (8 µs a document).

        Raises:
            CorruptCheckpointError: the journal itself is damaged.
            CatalogError: the catalogue cannot be made.
        """
        try:
            if not _is_as_sealed(folder):
                _discard(folder)
            folder.catalog_seal.unlink(missing_ok=True)
            try:
                catalog = cls._open_at(folder, commit, cipher)
            except (CatalogError, CorruptCheckpointError):
                _discard(folder)
                catalog = cls._open_at(folder, commit, cipher)
        except OSError as error:
            raise CatalogError(path=folder.catalog, detail=error) from error
        catalog._seal = folder.catalog_seal
        return catalog

    @classmethod
    def _open_at(cls, folder: BatchFolder, commit: Commit, cipher: Cipher | None) -> Catalog:
        catalog = cls(folder.catalog, cipher)
        try:
            if catalog.position.offset > commit.journal_bytes:
                raise CatalogError(path=folder.catalog, detail="it is ahead of the checkpoint")
            catalog.catch_up(folder.journal, commit.position)
        except BaseException:
            catalog.close()
            raise
        return catalog

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, orjson.JSONDecodeError) as error:
            self._seal = None  # it is made anew next time
            raise CatalogError(path=self._path, detail=error) from error

    def _fetch(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._named_errors():
            return self._db.execute(query, values).fetchall()

    @property
    def position(self) -> Position:
        """How much of the journal this table reflects."""
        rows = self._fetch("SELECT offset, crc FROM applied")
        return Position(*rows[0]) if rows else Position()

    def catch_up(self, journal: Path, stop: Position) -> None:
        """Apply the records between :attr:`position` and ``stop``."""
        entries = read_journal(journal, self.position, stop, self._cipher)
        while part := list(islice(entries, _BATCH)):
            self.apply([record for _, record in part], part[-1][0])

    def apply(self, records: Iterable[Record], position: Position) -> None:
        """Apply committed ``records`` and note ``position``, in one transaction."""
        upserts: list[tuple[Any, ...]] = []
        last: dict[str, int] = {}
        for record in records:
            kind = record["t"]
            if kind == "doc":
                key, detail = self._closed(record)
                upserts.append((key, record["s"], record["n"], detail, record.get("row")))
            elif kind == "gone":
                last[self._key(record["id"])] = len(upserts)
        with self._transaction():
            if last:  # rare: a removal must come after the upserts that precede it
                start = 0
                for doc_id, count in last.items():
                    self._db.executemany(_UPSERT, upserts[start:count])
                    self._db.execute("DELETE FROM docs WHERE doc_id = ?", (doc_id,))
                    start = count
                upserts = upserts[start:]
            self._db.executemany(_UPSERT, upserts)
            self._db.execute(
                "INSERT OR REPLACE INTO applied VALUES (1, ?, ?)", (position.offset, position.crc)
            )

    def _key(self, doc_id: str) -> str:
        return doc_id if self._cipher is None else self._cipher.hide(doc_id)

    def _closed(self, record: Record) -> tuple[str, str | bytes | None]:
        """The columns ``doc_id`` and ``detail``."""
        key = self._key(record["id"])
        if self._cipher is not None:
            return key, self._cipher.seal(orjson.dumps(record), f"catalog:{key}")
        # A document without file and chunks (a bare status) needs no detail column.
        is_bare = "fp" not in record and "err" not in record
        return key, None if is_bare else orjson.dumps(record).decode()

    def _row(self, row: tuple[Any, ...]) -> CatalogRow:
        key, status, chunks, detail = row
        if self._cipher is not None:
            detail = self._cipher.open(detail, f"catalog:{key}", self._path)
        with self._named_errors():
            record = orjson.loads(detail) if detail else None
        return CatalogRow(record["id"] if record else key, status, chunks, record)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._named_errors():
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:  # commits, or rolls back on an error
                yield

    def lookup(self, doc_ids: Sequence[str]) -> dict[str, CatalogRow]:
        """Those of ``doc_ids`` that are settled."""
        marks = ",".join("?" * len(doc_ids))
        query = f"SELECT doc_id, status, chunks, detail FROM docs WHERE doc_id IN ({marks})"  # noqa: S608 - only question marks
        keys = doc_ids if self._cipher is None else list(map(self._cipher.hide, doc_ids))
        rows = map(self._row, self._fetch(query, keys))
        return {row.doc_id: row for row in rows}

    def scan(self, where: str = "1") -> Iterator[CatalogRow]:
        """All settled documents by id (or its hash); memory stays flat, writing meanwhile is
        allowed.
        """
        last = ""
        query = (
            "SELECT doc_id, status, chunks, detail FROM docs "  # noqa: S608 - fixed conditions
            f"WHERE doc_id > ? AND {where} ORDER BY doc_id LIMIT {_BATCH}"
        )
        while rows := self._fetch(query, (last,)):
            yield from map(self._row, rows)
            last = rows[-1][0]

    def scan_with_chunks(self) -> Iterator[CatalogRow]:
        """Every document that has vectors in the index."""
        return self.scan("chunks > 0")

    def scan_failures(self) -> Iterator[CatalogRow]:
        """The dead-letter list: failed and skipped documents."""
        return self.scan("status <> 'done'")

    def failures(self) -> list[Failure]:
        """The dead-letter list as the report shows it."""
        found = [
            Failure(row.doc_id, str(row.record["err"]), int(row.record["try"]))
            for row in self.scan_failures()
            if row.record
        ]
        return sorted(found, key=lambda failure: failure.doc_id)

    def owner_of(self, vector_row: int) -> CatalogRow | None:
        """The document whose vectors include ``vector_row``."""
        found = self._last_up_to(vector_row)
        return found if found and vector_row < found.first_row + found.chunks else None

    def newest(self) -> CatalogRow | None:
        """The document whose vectors were added last."""
        return self._last_up_to(sys.maxsize)

    def _last_up_to(self, vector_row: int) -> CatalogRow | None:
        rows = self._fetch(
            "SELECT doc_id, status, chunks, detail FROM docs WHERE first_row <= ? "
            "ORDER BY first_row DESC LIMIT 1",
            (vector_row,),
        )
        return self._row(rows[0]) if rows else None

    def counts(self) -> dict[str, int]:
        """Documents by status, and ``chunks`` in all."""
        rows = self._fetch("SELECT status, COUNT(*), SUM(chunks) FROM docs GROUP BY status")
        found = {"done": 0, "failed": 0, "skipped": 0, "chunks": 0}
        for status, count, chunks in rows:
            found[status] = count
            found["chunks"] += chunks
        return found

    def close(self) -> None:
        """Close the connection, and seal what :meth:`recover` opened."""
        self._db.close()
        if self._seal is not None:
            with suppress(OSError):  # without a seal it is made anew
                self._seal.write_bytes(_checksum(self._path))


def _is_as_sealed(folder: BatchFolder) -> bool:
    try:
        return folder.catalog_seal.read_bytes() == _checksum(folder.catalog)
    except OSError:
        return False


def _checksum(path: Path) -> bytes:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return b"%08x" % crc


def _discard(folder: BatchFolder) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{folder.catalog}{suffix}").unlink(missing_ok=True)
