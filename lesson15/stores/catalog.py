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
from typing import Any

import orjson

from lesson15.checkpoint.encryption import Cipher
from lesson15.checkpoint.journal import Position
from lesson15.checkpoint.layout import BatchFolder
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.errors import CatalogError, CorruptCheckpointError
from lesson15.events import DocRemoved, DocSettled, Event, decode, encode
from lesson15.models import DocStatus, Failure

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


class Catalog:
    """The table of one batch. A connection belongs to the thread that uses it, one at a time."""

    def __init__(
        self, path: Path | str, cipher: Cipher | None = None, options: str | None = None
    ) -> None:
        self._path = Path(path)
        self._cipher = cipher
        self._seal: Path | None = None
        with self._named_errors():
            name = path if options is None else f"{self._path.absolute().as_uri()}?{options}"
            self._db = sqlite3.connect(
                name, uri=options is not None, check_same_thread=False, isolation_level=None
            )
            try:
                if options is None:
                    self._db.execute("PRAGMA journal_mode=WAL")
                    self._db.execute("PRAGMA synchronous=NORMAL")  # derived: a lost tail is redone
                    self._db.executescript(_SCHEMA)
            except sqlite3.Error:
                self._db.close()
                raise

    @classmethod
    def snapshot(cls, batch: StoredBatch) -> Catalog:
        """A catalogue for reading alone, as of one commit; nothing on disk is changed.

        While another process works on the batch that is the commit which its catalogue reflects at
        this moment, else that of ``batch``. Where no file can be trusted or opened, the table is
        made in memory.

        Raises:
            CorruptCheckpointError: the journal is damaged.
        """
        is_sealed = not batch.is_live and _is_as_sealed(batch.folder)
        if is_sealed or batch.is_live:
            # SQLite needs to write beside a file that others may write to; where it cannot, nobody
            # can, and the file is immutable.
            for options in ("mode=ro", "immutable=1") if is_sealed else ("mode=ro",):
                with suppress(CatalogError, OSError):
                    inode = batch.folder.catalog.stat().st_ino
                    catalog = cls(batch.folder.catalog, batch.cipher, options)
                    if catalog._hold(inode, None if batch.is_live else batch.commit.position):
                        return catalog
        catalog = cls(":memory:", batch.cipher)
        catalog.catch_up(batch)
        return catalog

    def _hold(self, inode: int, position: Position | None) -> bool:
        """Read from now on as of this moment, if that is at ``position``, or any if it is None;
        else close.

        The file must still be ``inode``: had another process made it anew, before SQLite opened the
        log beside it, that log would be the other file's.
        """
        try:
            with self._named_errors():
                self._db.execute("BEGIN")
            found = self.position
            is_same = self._path.stat().st_ino == inode
        except (CatalogError, OSError):
            self.close()
            raise
        is_right = found == position if position is not None else bool(found.offset)
        if not (is_right and is_same):
            self.close()
        return is_right and is_same

    @classmethod
    def recover(cls, batch: StoredBatch) -> Catalog:
        """Open the catalogue of ``batch`` and bring it to its commit, rebuilding it if need be.

        SQLite does not checksum its pages, so a file is used only if it is as :meth:`close` sealed
        it; what a crash or other damage left is made anew from the journal (8 µs a document).

        Raises:
            CorruptCheckpointError: the journal itself is damaged.
            CatalogError: the catalogue cannot be made.
        """
        folder = batch.folder
        try:
            if not _is_as_sealed(folder):
                _discard(folder)
            folder.catalog_seal.unlink(missing_ok=True)
            try:
                catalog = cls._open_at(batch)
            except (CatalogError, CorruptCheckpointError):
                _discard(folder)
                catalog = cls._open_at(batch)
        except OSError as error:
            raise CatalogError(path=folder.catalog, detail=error) from error
        catalog._seal = folder.catalog_seal
        return catalog

    @classmethod
    def _open_at(cls, batch: StoredBatch) -> Catalog:
        catalog = cls(batch.folder.catalog, batch.cipher)
        try:
            if catalog.position.offset > batch.commit.journal_bytes:
                raise CatalogError(
                    path=batch.folder.catalog, detail="it is ahead of the checkpoint"
                )
            catalog.catch_up(batch)
        except BaseException:
            catalog.close()
            raise
        return catalog

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
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

    def catch_up(self, batch: StoredBatch) -> None:
        """Apply what ``batch`` has committed since :attr:`position`, in one transaction.

        So whoever reads meanwhile sees one commit or another, and nothing in between.
        """
        entries = batch.events_from(self.position)
        with self._transaction():
            while part := list(islice(entries, _BATCH)):
                self._apply([event for _, event in part], part[-1][0])

    def apply(self, events: Iterable[Event], position: Position) -> None:
        """Apply committed ``events`` and note ``position``, in one transaction."""
        with self._transaction():
            self._apply(events, position)

    def _apply(self, events: Iterable[Event], position: Position) -> None:
        upserts: list[tuple[Any, ...]] = []

        def flush() -> None:
            self._db.executemany(_UPSERT, upserts)
            upserts.clear()

        for event in events:
            match event:
                case DocSettled(status=status, chunks=chunks):
                    key, detail = self._closed(event)
                    upserts.append((key, status.value, chunks, detail, event.first_row))
                case DocRemoved(doc_id=doc_id):
                    flush()  # a removal must come after the upserts that precede it
                    self._db.execute("DELETE FROM docs WHERE doc_id = ?", (self._key(doc_id),))
        flush()
        self._db.execute(
            "INSERT OR REPLACE INTO applied VALUES (1, ?, ?)", (position.offset, position.crc)
        )

    def _key(self, doc_id: str) -> str:
        return doc_id if self._cipher is None else self._cipher.hide(doc_id)

    def _closed(self, event: DocSettled) -> tuple[str, str | bytes | None]:
        """The columns ``doc_id`` and ``detail``."""
        key = self._key(event.doc_id)
        if self._cipher is not None:
            return key, self._cipher.seal(orjson.dumps(encode(event)), f"catalog:{key}")
        # A document without file and chunks (a bare status) needs no detail column.
        is_bare = not event.chunks and event.fingerprint is None and event.error is None
        return key, None if is_bare else orjson.dumps(encode(event)).decode()

    def _event(self, row: tuple[Any, ...]) -> DocSettled:
        key, status, chunks, detail = row
        if self._cipher is not None:
            detail = self._cipher.open(detail, f"catalog:{key}", self._path)
        if not detail:
            return DocSettled(doc_id=key, status=DocStatus(status), chunks=chunks)
        with self._named_errors():
            event = decode(orjson.loads(detail))
        assert isinstance(event, DocSettled)  # noqa: S101 - apply() stores no other kind
        return event

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._named_errors():
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:  # commits, or rolls back on an error
                yield

    def lookup(self, doc_ids: Sequence[str]) -> dict[str, DocSettled]:
        """The verdicts on those of ``doc_ids`` that are settled."""
        marks = ",".join("?" * len(doc_ids))
        query = f"SELECT doc_id, status, chunks, detail FROM docs WHERE doc_id IN ({marks})"  # noqa: S608 - only question marks
        keys = doc_ids if self._cipher is None else list(map(self._cipher.hide, doc_ids))
        events = map(self._event, self._fetch(query, keys))
        return {event.doc_id: event for event in events}

    def scan(self, where: str = "1") -> Iterator[DocSettled]:
        """The verdicts on all settled documents by id (or its hash); memory stays flat, writing
        meanwhile is allowed.
        """
        last = ""
        query = (
            "SELECT doc_id, status, chunks, detail FROM docs "  # noqa: S608 - fixed conditions
            f"WHERE doc_id > ? AND {where} ORDER BY doc_id LIMIT {_BATCH}"
        )
        while rows := self._fetch(query, (last,)):
            yield from map(self._event, rows)
            last = rows[-1][0]

    def scan_with_chunks(self) -> Iterator[DocSettled]:
        """Every document that has vectors in the index."""
        return self.scan("chunks > 0")

    def scan_failures(self) -> Iterator[DocSettled]:
        """The dead-letter list: failed and skipped documents."""
        return self.scan("status <> 'done'")

    def failures(self) -> list[Failure]:
        """The dead-letter list as the report shows it."""
        found = [
            Failure(event.doc_id, event.error, event.attempts)
            for event in self.scan_failures()
            if event.error is not None
        ]
        return sorted(found, key=lambda failure: failure.doc_id)

    def owner_of(self, vector_row: int) -> DocSettled | None:
        """The document whose vectors include ``vector_row``."""
        found = self._last_up_to(vector_row)
        return found if found and vector_row in found.rows else None

    def newest(self) -> DocSettled | None:
        """The document whose vectors were added last."""
        return self._last_up_to(sys.maxsize)

    def _last_up_to(self, vector_row: int) -> DocSettled | None:
        rows = self._fetch(
            "SELECT doc_id, status, chunks, detail FROM docs WHERE first_row <= ? "
            "ORDER BY first_row DESC LIMIT 1",
            (vector_row,),
        )
        return self._event(rows[0]) if rows else None

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
