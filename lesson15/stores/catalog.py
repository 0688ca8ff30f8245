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
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

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
_DELETE = "DELETE FROM docs WHERE doc_id = ?"
_NOTE_POSITION = "INSERT OR REPLACE INTO applied VALUES (1, ?, ?)"
_SELECT = "SELECT doc_id, status, chunks, detail FROM docs"
_BATCH = 1000
_CATCH_UP_SECONDS = 0.5
_LOOK_AGAIN_SECONDS = 0.02
IN_TROUBLE = "status <> 'done'"
"""The condition of :meth:`Catalog.scan` for the dead-letter list."""


class Catalog:
    """The table of one batch. A connection belongs to the thread that uses it, one at a time."""

    def __init__(
        self, path: Path | str, cipher: Cipher | None = None, options: str | None = None
    ) -> None:
        self._path = Path(path)
        self._cipher = cipher
        self._seal: Path | None = None
        try:
            name = path if options is None else f"{self._path.absolute().as_uri()}?{options}"
            self._db = sqlite3.connect(
                name, uri=options is not None, check_same_thread=False, isolation_level=None
            )
            try:
                if options is None:
                    self._db.execute("PRAGMA journal_mode=WAL")
                    # Derived, and after a crash used only if it is as it was sealed.
                    self._db.execute("PRAGMA synchronous=OFF")
                    self._db.executescript(_SCHEMA)
            except sqlite3.Error:
                self._db.close()
                raise
        except sqlite3.Error as error:
            raise self._failed(error) from error

    @classmethod
    def snapshot(cls, batch: StoredBatch) -> Catalog:
        """A catalogue for reading alone, as of one commit; nothing on disk is changed.

        While another process works on the batch that is the commit which its catalogue reflects at
        this moment, or soon, if it is behind; else that of ``batch``. Where no file can be trusted
        or opened, or whoever works on it does not bring it up, the table is made in memory.

        Raises:
            CorruptCheckpointError: the journal is damaged.
        """
        given_up = time.monotonic() + _CATCH_UP_SECONDS
        is_sealed = not batch.is_live and _is_as_sealed(batch.folder)
        while is_sealed or batch.is_live:
            # SQLite needs to write beside a file that others may write to; where it cannot, nobody
            # can, and the file is immutable.
            for options in ("mode=ro", "immutable=1") if is_sealed else ("mode=ro",):
                with suppress(CatalogError, OSError):
                    inode = batch.folder.catalog.stat().st_ino
                    catalog = cls(batch.folder.catalog, batch.cipher, options)
                    if catalog._hold(inode, batch):
                        return catalog
            if is_sealed or time.monotonic() > given_up:
                break
            time.sleep(_LOOK_AGAIN_SECONDS)
        catalog = cls(":memory:", batch.cipher)
        catalog.catch_up(batch)
        return catalog

    def _hold(self, inode: int, batch: StoredBatch) -> bool:
        """Read from now on as of this moment, if that is at the commit of ``batch``, or, while a
        process works on it, at a later one; else close.

        The file must still be ``inode``: had another process made it anew, before SQLite opened the
        log beside it, that log would be the other file's.
        """
        try:
            self._fetch("BEGIN")
            found = self.position
            is_same = self._path.stat().st_ino == inode
        except (CatalogError, OSError):
            self.close()
            raise
        wanted = batch.commit.position
        is_right = found == wanted or (batch.is_live and found.offset > wanted.offset)
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

    def _fetch(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> CatalogError:
        self._seal = None  # it is made anew next time
        return CatalogError(path=self._path, detail=error)

    @property
    def position(self) -> Position:
        """How much of the journal this table reflects."""
        rows = self._fetch("SELECT offset, crc FROM applied")
        return Position(*rows[0]) if rows else Position()

    # --- writing ------------------------------------------------------------------------------

    def apply(self, events: Iterable[Event], position: Position) -> None:
        """Apply committed ``events`` and note ``position``; raises CatalogError."""
        self._apply([(events, position)])

    def catch_up(self, batch: StoredBatch) -> None:
        """Apply what ``batch`` has committed since :attr:`position`; raises CatalogError."""
        position = self.position
        if position != batch.commit.position:
            self._apply(_in_parts(batch.events_from(position)))

    def _apply(self, parts: Iterable[tuple[Iterable[Event], Position]]) -> None:
        """Apply ``parts`` in one transaction, so that whoever reads sees all of it or nothing."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:  # commits, or rolls back on an error
                for events, position in parts:
                    upserts: list[tuple[Any, ...]] = []
                    for event in events:
                        match event:
                            case DocSettled():
                                upserts.append(self._row(event))
                            case DocRemoved(doc_id=doc_id):
                                self._db.executemany(_UPSERT, upserts)  # which precede it
                                upserts.clear()
                                self._db.execute(_DELETE, self._keys([doc_id]))
                    self._db.executemany(_UPSERT, upserts)
                    self._db.execute(_NOTE_POSITION, (position.offset, position.crc))
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _keys(self, doc_ids: Sequence[str]) -> Sequence[str]:
        return doc_ids if self._cipher is None else list(map(self._cipher.hide, doc_ids))

    def _row(self, event: DocSettled) -> tuple[Any, ...]:
        key, detail = event.doc_id, None
        if self._cipher is not None:
            key = self._cipher.hide(key)
            detail = self._cipher.seal(orjson.dumps(encode(event)), f"catalog:{key}")
        elif event.chunks or event.fingerprint is not None or event.error is not None:
            # A document without chunks, file and error (a bare status) needs no detail.
            detail = orjson.dumps(encode(event))
        return key, event.status.value, event.chunks, detail, event.first_row

    def _event(self, row: tuple[Any, ...]) -> DocSettled:
        key, status, chunks, detail = row
        if self._cipher is not None:
            detail = self._cipher.open(detail, f"catalog:{key}", self._path)
        if not detail:
            return DocSettled(doc_id=key, status=DocStatus(status), chunks=chunks)
        try:
            event = decode(orjson.loads(detail))
        except ValueError as error:
            raise self._failed(error) from error
        assert isinstance(event, DocSettled)  # noqa: S101 - _row() stores no other kind
        return event

    # --- reading ------------------------------------------------------------------------------

    def lookup(self, doc_ids: Sequence[str]) -> dict[str, DocSettled]:
        """The verdicts on those of ``doc_ids`` that are settled."""
        marks = ",".join("?" * len(doc_ids))
        query = f"{_SELECT} WHERE doc_id IN ({marks})"
        events = map(self._event, self._fetch(query, self._keys(doc_ids)))
        return {event.doc_id: event for event in events}

    def scan(self, where: str = "1") -> Iterator[DocSettled]:
        """The verdicts on all settled documents by id (or its hash); memory stays flat, writing
        meanwhile is allowed.
        """
        last = ""
        query = f"{_SELECT} WHERE doc_id > ? AND {where} ORDER BY doc_id LIMIT {_BATCH}"
        while rows := self._fetch(query, (last,)):
            yield from map(self._event, rows)
            last = rows[-1][0]

    def with_vectors(self, row: int = 0) -> Iterator[DocSettled]:
        """The documents that have vectors, those with rows from ``row`` on, in their order."""
        query = f"{_SELECT} WHERE first_row >= ? ORDER BY first_row LIMIT {_BATCH}"
        while rows := self._fetch(query, (row,)):
            for event in map(self._event, rows):
                yield event
                row = event.rows.stop

    def spans(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First row and number of chunks of each document that has vectors, by first row."""
        rows = self._fetch(
            "SELECT first_row, chunks FROM docs WHERE first_row IS NOT NULL ORDER BY first_row"
        )
        first_rows, chunks = np.array(rows, np.int64).reshape(-1, 2).T
        return first_rows, chunks

    def failures(self) -> list[Failure]:
        """The dead-letter list as the report shows it: failed and skipped documents."""
        found = [
            Failure(event.doc_id, event.error, event.attempts)
            for event in self.scan(IN_TROUBLE)
            if event.error is not None
        ]
        return sorted(found, key=lambda failure: failure.doc_id)

    def owner_of(self, vector_row: int) -> DocSettled | None:
        """The document whose vectors include ``vector_row``."""
        found = self._last_up_to(vector_row, 1)
        return found[0] if found and vector_row in found[0].rows else None

    def newest(self, count: int = 1) -> list[DocSettled]:
        """The ``count`` documents whose vectors were added last, the last one first."""
        return self._last_up_to(sys.maxsize, count)

    def _last_up_to(self, vector_row: int, count: int) -> list[DocSettled]:
        query = f"{_SELECT} WHERE first_row <= ? ORDER BY first_row DESC LIMIT ?"
        return list(map(self._event, self._fetch(query, (vector_row, count))))

    def close(self) -> None:
        """Close the connection, and seal what :meth:`recover` opened."""
        self._db.close()
        if self._seal is not None:
            with suppress(OSError):  # without a seal it is made anew
                self._seal.write_bytes(_checksum(self._path))


def _in_parts(
    entries: Iterator[tuple[Position, Event]],
) -> Iterator[tuple[list[Event], Position]]:
    while part := list(islice(entries, _BATCH)):
        yield [event for _, event in part], part[-1][0]


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
