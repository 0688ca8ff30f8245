from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lesson15.checkpoint.documents import Commit
from lesson15.checkpoint.filesystem import OsFileSystem
from lesson15.checkpoint.journal import JournalWriter, Position
from lesson15.checkpoint.layout import BatchFolder
from lesson15.embedding import HashingEmbedder
from lesson15.errors import CatalogError, UnknownNameError
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
    texts = [f"Document {number}, subject {number * 37}. " * 20 for number in range(300)]
    vectors = HashingEmbedder(256).embed(texts)
    store = open_store(name, tmp_path / "alike", 256)
    for start in range(0, 300, 10):
        store.add(np.arange(start, start + 10), vectors[start : start + 10])
    scores = [store.search(vector, 1)[0][1] for vector in vectors]
    assert min(scores) > 0.999
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


def doc(doc_id: str, status: str = "done", chunks: int = 0, **more: object) -> dict[str, object]:
    return {"t": "doc", "id": doc_id, "s": status, "n": chunks, **more}


def journal(folder: BatchFolder, records: list[dict[str, object]]) -> Commit:
    folder.root.mkdir(exist_ok=True)
    writer = JournalWriter(OsFileSystem(), folder.journal, Position())
    for record in records:
        writer.append(record)
    writer.flush()
    writer.close()
    return Commit(journal_bytes=writer.position.offset, journal_crc=writer.position.crc)


RECORDS = [
    {"t": "run", "at": 1},
    doc("a", chunks=2, row=0, seg=[0, 10, 1], fp=[1, 2, 3], sha="x"),
    doc("b", "failed", err="broken", **{"try": 2}),
    doc("c", chunks=3, row=2, seg=[10, 10, 1], fp=[1, 2, 3], sha="y"),
    doc("gone", chunks=1, row=5, seg=[20, 10, 1], fp=[1, 2, 3]),
    {"t": "gone", "id": "gone", "was": "done", "was_n": 1},
]


def test_catalog_is_rebuilt_whatever_is_found(tmp_path: Path) -> None:
    folder = BatchFolder.of(tmp_path, "b")
    commit = journal(folder, RECORDS)
    for spoil in (lambda: None, lambda: folder.catalog.write_bytes(b"not a database" * 100)):
        spoil()
        catalog = Catalog.recover(folder, commit)
        assert catalog.position == commit.position
        assert catalog.counts() == {"done": 2, "failed": 1, "skipped": 0, "chunks": 5}
        catalog.close()


@pytest.mark.parametrize("damage", ["flip", "no seal", "another seal", "other journal"])
def test_a_catalog_that_is_not_as_sealed_is_made_anew(tmp_path: Path, damage: str) -> None:
    folder = BatchFolder.of(tmp_path, "b")
    commit = journal(folder, RECORDS)
    Catalog.recover(folder, commit).close()
    assert folder.catalog_seal.exists()
    data = folder.catalog.read_bytes()
    if damage == "other journal":
        other = BatchFolder.of(tmp_path, "other")
        Catalog.recover(other, journal(other, RECORDS[1:3])).close()
        for name in ("catalog.sqlite", "catalog.sqlite.crc"):
            (folder.root / name).write_bytes((other.root / name).read_bytes())
    else:
        folder.catalog.write_bytes(data.replace(b'"sha":"y"', b'"sha":"z"'))
        if damage == "no seal":
            folder.catalog_seal.unlink()
        elif damage == "another seal":
            folder.catalog_seal.write_bytes(b"\xff")
    catalog = Catalog.recover(folder, commit)
    assert not folder.catalog_seal.exists()  # while it may be written to
    assert catalog.lookup(["c"])["c"].sha256 == "y"
    assert catalog.counts()["done"] == 2
    catalog.close()
    sealed = folder.catalog_seal.read_bytes()  # which reading leaves in force
    reader = Catalog(folder.catalog)
    reader.counts()
    reader.close()
    Catalog.recover(folder, commit).close()
    assert folder.catalog_seal.read_bytes() == sealed


def test_a_catalog_that_failed_is_not_sealed(tmp_path: Path) -> None:
    folder = BatchFolder.of(tmp_path, "b")
    commit = journal(folder, RECORDS)
    catalog = Catalog.recover(folder, commit)
    catalog._db.execute("UPDATE docs SET detail = '{' WHERE doc_id = 'a'")
    with pytest.raises(CatalogError, match="derived from the journal"):
        catalog.lookup(["a"])
    catalog.close()
    assert not folder.catalog_seal.exists()
    catalog = Catalog.recover(folder, commit)
    assert catalog.lookup(["a"])["a"].sha256 == "x"
    catalog.close()


def test_a_catalog_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    folder = BatchFolder.of(tmp_path, "b")
    commit = journal(folder, RECORDS)
    folder.catalog.mkdir()
    with pytest.raises(CatalogError, match="delete the file"):
        Catalog.recover(folder, commit)
    with pytest.raises(CatalogError):
        Catalog(folder.catalog)


def test_catalog_ahead_of_the_checkpoint_is_rebuilt(tmp_path: Path) -> None:
    folder = BatchFolder.of(tmp_path, "b")
    commit = journal(folder, RECORDS)
    catalog = Catalog(folder.catalog)
    catalog.apply([doc("never committed")], Position(10**6, 1))
    catalog.close()
    catalog = Catalog.recover(folder, commit)
    assert "never committed" not in catalog.lookup(["never committed"])
    catalog.close()


def test_catalog_answers(tmp_path: Path) -> None:
    folder = BatchFolder.of(tmp_path, "b")
    catalog = Catalog.recover(folder, journal(folder, RECORDS))
    assert catalog.lookup(["a", "zzz"])["a"].sha256 == "x"
    assert [row.doc_id for row in catalog.scan()] == ["a", "b", "c"]
    assert [failure.error for failure in catalog.failures()] == ["broken"]
    owners = [catalog.owner_of(row) for row in range(7)]
    assert [owner and owner.doc_id for owner in owners] == ["a", "a", "c", "c", "c", None, None]
    catalog.close()
    with pytest.raises(CatalogError, match="closed database"):
        catalog.counts()


def test_removal_and_return_in_one_commit(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "c.sqlite")
    catalog.apply(
        [doc("a"), {"t": "gone", "id": "a"}, doc("b"), doc("a", "failed", err="x")], Position(1, 1)
    )
    assert {row.doc_id: row.status for row in catalog.scan()} == {"a": "failed", "b": "done"}
    catalog.close()


def test_catalog_of_another_journal_is_rebuilt(tmp_path: Path) -> None:
    """It lies where a batch of the same name was begun, or forked, and got no checkpoint."""
    folder = BatchFolder.of(tmp_path, "b")
    Catalog.recover(folder, journal(folder, [doc("other")])).close()
    folder.journal.unlink()
    catalog = Catalog.recover(folder, journal(folder, RECORDS))
    assert [row.doc_id for row in catalog.scan()] == ["a", "b", "c"]
    catalog.close()
