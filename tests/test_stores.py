from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesson15.checkpoint.filesystem import OsFileSystem
from lesson15.checkpoint.journal import JournalWriter, Position
from lesson15.checkpoint.layout import batch_lock
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.state_files import Commit
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.embedding import HashingEmbedder
from lesson15.errors import CatalogError, UnknownNameError
from lesson15.events import BlockRef, DocRemoved, DocSettled, Event, RunStarted
from lesson15.models import BatchState, DocStatus
from lesson15.stores import VectorStore, open_store
from lesson15.stores.catalog import Catalog


def unit(seed: int, count: int = 1) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(params=["faiss", "chroma"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(name: str, tmp_path: Path) -> VectorStore:
    return open_store(name, tmp_path / "index", 8)


def test_add_search_get_remove(store: VectorStore) -> None:
    vectors = unit(1, 5)
    assert store.search(vectors[0], 3) == []
    store.add(np.arange(10, 15), vectors)
    (row, score), *rest = store.search(vectors[2], 3)
    assert row == 12
    assert score == pytest.approx(1.0, abs=1e-5)
    assert len(rest) == 2
    assert np.allclose(store.get(np.array([14, 10])), vectors[[4, 0]])
    assert store.get(np.array([], np.int64)).shape == (0, 8)
    store.remove(np.array([12, 99]))
    assert sorted(store.rows().tolist()) == [10, 11, 13, 14]
    assert store.search(vectors[2], 10)[0][0] != 12
    with pytest.raises(KeyError):
        store.get(np.array([12]))
    store.remove(np.array([], np.int64))
    store.add(np.array([], np.int64), np.empty((0, 8), np.float32))
    store.clear()
    assert len(store.rows()) == 0
    store.close()


def test_every_vector_is_found_by_itself(name: str, tmp_path: Path) -> None:
    """But for one in a hundred of Chroma's, whose search is approximate."""
    texts = [f"Document {number}, subject {number * 37}. " * 20 for number in range(300)]
    vectors = HashingEmbedder(256).embed(texts)
    store = open_store(name, tmp_path / "alike", 256)
    for start in range(0, 300, 10):
        store.add(np.arange(start, start + 10), vectors[start : start + 10])
    missed = sum(store.search(vector, 1)[0][1] < 0.999 for vector in vectors)
    assert missed <= (3 if name == "chroma" else 0)
    store.close()


def test_save_and_load(name: str, store: VectorStore, tmp_path: Path) -> None:
    assert store.load() is None
    store.add(np.arange(3), unit(2, 3))
    store.save("tag")
    store.close()
    again = open_store(name, tmp_path / "index", 8)
    assert again.load() == "tag"
    assert sorted(again.rows().tolist()) == [0, 1, 2]


def test_damaged_faiss_file_is_not_loaded(tmp_path: Path) -> None:
    store = open_store("faiss", tmp_path / "index", 8)
    store.add(np.arange(3), unit(2, 3))
    store.save("tag")
    file = tmp_path / "index.faiss"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert store.load() is None


def test_unknown_store(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="one of: faiss, chroma"):
        open_store("redis", tmp_path, 8)


def doc(doc_id: str, status: DocStatus = DocStatus.DONE, **more: Any) -> DocSettled:
    return DocSettled(doc_id=doc_id, status=status, **more)


def stored(state: Path, events: list[Event], batch_id: str = "b") -> StoredBatch:
    """A batch whose journal is ``events``, all of them committed."""
    manager = CheckpointManager(state)
    folder = manager.folder(batch_id)
    folder.root.mkdir(exist_ok=True)
    folder.journal.unlink(missing_ok=True)
    writer = JournalWriter(OsFileSystem(), folder.journal, Position())
    for event in events:
        writer.append(event)
    writer.write(writer.take())
    writer.close()
    end = writer.position
    manager.write(BatchState(batch_id), Commit(journal_bytes=end.offset, journal_crc=end.crc))
    return manager.open(batch_id)


def counts(catalog: Catalog) -> dict[str, int]:
    """Documents by verdict, and chunks."""
    rows = list(catalog.scan())
    chunks = sum(row.chunks for row in rows)
    return {**Counter(row.status.value for row in rows), "chunks": chunks}


FILE = {"fingerprint": [1, 2, 3]}
EVENTS: list[Event] = [
    RunStarted(at=1),
    doc("a", chunks=2, first_row=0, block=BlockRef(0, 10, 1), sha256="x", **FILE),
    doc("b", DocStatus.FAILED, error="broken", error_type="ValueError", attempts=2),
    doc("c", chunks=3, first_row=2, block=BlockRef(10, 10, 1), sha256="y", **FILE),
    doc("gone", chunks=1, first_row=5, block=BlockRef(20, 10, 1), **FILE),
    DocRemoved(doc_id="gone", previous_status=DocStatus.DONE, previous_chunks=1),
]


@pytest.mark.parametrize("open_catalog", [Catalog.recover, Catalog.snapshot])
def test_catalog_is_rebuilt_whatever_is_found(
    tmp_path: Path, open_catalog: Callable[[StoredBatch], Catalog]
) -> None:
    batch = stored(tmp_path, EVENTS)
    path = batch.folder.catalog
    for spoil in (lambda: None, lambda: path.write_bytes(b"not a database" * 100)):
        spoil()
        catalog = open_catalog(batch)
        assert catalog.position == batch.commit.position
        assert counts(catalog) == {"done": 2, "failed": 1, "chunks": 5}
        catalog.close()


def test_a_snapshot_changes_nothing_and_stays_at_its_commit(tmp_path: Path) -> None:
    batch = stored(tmp_path, EVENTS)
    Catalog.recover(batch).close()
    before = {path.name: path.read_bytes() for path in batch.folder.root.iterdir()}
    snapshot = Catalog.snapshot(batch)
    assert counts(snapshot) == {"done": 2, "failed": 1, "chunks": 5}
    after = {path.name: path.read_bytes() for path in batch.folder.root.iterdir()}
    assert after.items() >= before.items()  # SQLite may have put its shared memory there
    writing = Catalog.recover(batch)
    writing.apply([doc("later")], Position(10**6, 1))
    assert "later" in writing.lookup(["later"])
    assert "later" not in snapshot.lookup(["later"])
    assert snapshot.position == batch.commit.position
    snapshot.close()
    writing.close()


@pytest.mark.parametrize("damage", ["flip", "no seal", "another seal", "other journal"])
def test_a_catalog_that_is_not_as_sealed_is_made_anew(tmp_path: Path, damage: str) -> None:
    batch = stored(tmp_path, EVENTS)
    folder = batch.folder
    Catalog.recover(batch).close()
    assert folder.catalog_seal.exists()
    data = folder.catalog.read_bytes()
    if damage == "other journal":
        other = stored(tmp_path, EVENTS[1:3], "other")
        Catalog.recover(other).close()
        for name in ("catalog.sqlite", "catalog.sqlite.crc"):
            (folder.root / name).write_bytes((other.folder.root / name).read_bytes())
    else:
        folder.catalog.write_bytes(data.replace(b'"sha":"y"', b'"sha":"z"'))
        if damage == "no seal":
            folder.catalog_seal.unlink()
        elif damage == "another seal":
            folder.catalog_seal.write_bytes(b"\xff")
    snapshot = Catalog.snapshot(batch)
    assert snapshot.lookup(["c"])["c"].sha256 == "y"
    assert counts(snapshot)["done"] == 2
    snapshot.close()
    catalog = Catalog.recover(batch)
    assert not folder.catalog_seal.exists()  # while it may be written to
    assert catalog.lookup(["c"])["c"].sha256 == "y"
    assert counts(catalog)["done"] == 2
    catalog.close()
    sealed = folder.catalog_seal.read_bytes()  # which reading leaves in force
    reader = Catalog(folder.catalog)
    counts(reader)
    reader.close()
    Catalog.recover(batch).close()
    assert folder.catalog_seal.read_bytes() == sealed


def test_a_catalog_that_failed_is_not_sealed(tmp_path: Path) -> None:
    batch = stored(tmp_path, EVENTS)
    catalog = Catalog.recover(batch)
    with sqlite3.connect(batch.folder.catalog) as other:
        other.execute("UPDATE docs SET detail = '{' WHERE doc_id = 'a'")
    other.close()
    with pytest.raises(CatalogError, match="derived from the journal"):
        catalog.lookup(["a"])
    catalog.close()
    assert not batch.folder.catalog_seal.exists()
    catalog = Catalog.recover(batch)
    assert catalog.lookup(["a"])["a"].sha256 == "x"
    catalog.close()


def test_a_catalog_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    batch = stored(tmp_path, EVENTS)
    batch.folder.catalog.mkdir()
    with pytest.raises(CatalogError, match="delete the file"):
        Catalog.recover(batch)
    with pytest.raises(CatalogError):
        Catalog(batch.folder.catalog)


def test_catalog_ahead_of_the_checkpoint_is_rebuilt(tmp_path: Path) -> None:
    batch = stored(tmp_path, EVENTS)
    catalog = Catalog(batch.folder.catalog)
    catalog.apply([doc("never committed")], Position(10**6, 1))
    catalog.close()
    for open_catalog in (Catalog.snapshot, Catalog.recover):
        catalog = open_catalog(batch)
        assert "never committed" not in catalog.lookup(["never committed"])
        catalog.close()


def test_catalog_answers(tmp_path: Path) -> None:
    catalog = Catalog.recover(stored(tmp_path, EVENTS))
    assert catalog.lookup(["a", "zzz"]) == {"a": EVENTS[1]}
    assert [row.doc_id for row in catalog.scan()] == ["a", "b", "c"]
    assert [row.doc_id for row in catalog.with_vectors()] == ["a", "c"]
    assert [(failure.error, failure.attempts) for failure in catalog.failures()] == [("broken", 2)]
    owners = [catalog.owner_of(row) for row in range(7)]
    assert [owner and owner.doc_id for owner in owners] == ["a", "a", "c", "c", "c", None, None]
    assert catalog.newest() == [EVENTS[3]]
    catalog.close()
    with pytest.raises(CatalogError, match="closed database"):
        list(catalog.scan())


def test_a_document_that_is_no_file_keeps_its_block(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "c.sqlite")
    event = doc("a", chunks=2, first_row=0, block=BlockRef(0, 10, 1))
    catalog.apply([event, doc("bare")], Position(1, 1))
    assert catalog.owner_of(1) == event
    assert catalog.newest() == [event]
    assert catalog.lookup(["a", "bare"]) == {"a": event, "bare": doc("bare")}
    catalog.close()


def test_removal_and_return_in_one_commit(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "c.sqlite")
    failed = doc("a", DocStatus.FAILED, error="x", error_type="ValueError")
    catalog.apply([doc("a"), DocRemoved(doc_id="a"), doc("b"), failed], Position(1, 1))
    assert {row.doc_id: row.status for row in catalog.scan()} == {"a": "failed", "b": "done"}
    catalog.close()


def test_catalog_of_another_journal_is_rebuilt(tmp_path: Path) -> None:
    """It lies where a batch of the same name was begun, or forked, and got no checkpoint."""
    Catalog.recover(stored(tmp_path, [doc("other")])).close()
    catalog = Catalog.recover(stored(tmp_path, EVENTS))
    assert [row.doc_id for row in catalog.scan()] == ["a", "b", "c"]
    catalog.close()


@pytest.mark.parametrize("when", ["before it is opened", "once it is open"])
def test_a_snapshot_of_a_catalog_that_is_replaced_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Another process recovers, between two steps of a reader: the old pages with the new log of
    SQLite would be neither one commit nor the other.
    """
    documents = [
        doc(f"d{n:06}", chunks=1, first_row=n, block=BlockRef(n, 1, 1)) for n in range(40_000)
    ]
    new, newer = stored(tmp_path, documents[:-10]), stored(tmp_path, documents)
    Catalog.recover(stored(tmp_path, documents[:300])).close()
    newer_again = stored(tmp_path, documents)
    newer_again.folder.catalog_seal.unlink()  # as after a kill: what recovers makes it anew
    with batch_lock(newer_again.folder):
        live = CheckpointManager(tmp_path).open("b")
    assert live.is_live
    connect = sqlite3.connect
    writing: list[Catalog] = []

    def connect_in_between(*arguments: Any, **options: Any) -> sqlite3.Connection:
        monkeypatch.setattr(sqlite3, "connect", connect)
        if when == "once it is open":
            connection = connect(*arguments, **options)
        writing.append(Catalog.recover(new))
        writing[0].catch_up(newer)
        if when == "before it is opened":
            connection = connect(*arguments, **options)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_in_between)
    snapshot = Catalog.snapshot(live)
    assert writing
    assert list(snapshot.with_vectors()) == documents
    assert snapshot.position == newer.commit.position
    snapshot.close()
    writing[0].close()
