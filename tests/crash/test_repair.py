"""Damage of a finished batch is found, harmless or repaired, whatever file it hits."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lesson15 import Searcher
from lesson15.checkpoint import CheckpointManager
from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.journal import read_journal
from lesson15.checkpoint.salvage import Salvage
from lesson15.embedding import HashingEmbedder
from lesson15.engine.processor import BatchProcessor
from lesson15.engine.repair import Repair, repair
from lesson15.engine.verify import verify
from lesson15.errors import Lesson15Error, RepairError, StateReadError, StorageError, UsageError
from lesson15.models import SearchHit
from lesson15.settings import Settings
from tests.crash.conftest import Run
from tests.crash.engine import indexing_in_place

FLIPS = int(os.environ.get("LESSON15_TEST_FLIPS", "200"))
KEYS = Keyring({"one": bytes(range(32))})
WORDS = [
    f"{first}{second}" for first in ("ab", "cor", "del", "mu") for second in ("ine", "or", "st")
]
KINDS = ("plain", "encrypted", "chroma")


def processor(state: Path, kind: str) -> BatchProcessor:
    made = BatchProcessor(
        2,
        3,
        state_dir=state,
        embedder=HashingEmbedder(),
        store="chroma" if kind == "chroma" else "faiss",
        settings=Settings(retry_delay=0),
        work=indexing_in_place(256),
    )
    if kind == "encrypted":
        made.checkpoint_manager = CheckpointManager(state, keyring=KEYS)
    return made


def keys_of(kind: str) -> Keyring:
    return KEYS if kind == "encrypted" else Keyring()


def hits(state: Path, kind: str) -> tuple[list[list[dict[str, Any]]], list[str]]:
    searcher = Searcher("b", state, HashingEmbedder(), keys_of(kind))
    try:
        found = [[_shown(hit) for hit in searcher.search(text(n, 9), 4)] for n in range(100, 105)]
        return found, sorted(searcher.damaged)
    finally:
        searcher.close()


def _shown(hit: SearchHit) -> dict[str, Any]:
    return {**asdict(hit), "score": round(hit.score, 4)}


def text(seed: int, words: int) -> str:
    """So varied that no two scores are the same."""
    return " ".join(random.Random(seed).choices(WORDS, k=words))


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repair") / "docs"
    folder.mkdir()
    for number in range(12):
        (folder / f"d{number}.txt").write_text(text(number, 200))
    (folder / "bad.json").write_text("{")
    return folder


@pytest.fixture(scope="module")
def sound(docs: Path) -> Callable[[str], Path]:
    """Makes a folder of one kind of state, with a finished batch "b" in it."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = docs.parent / kind
            asyncio.run(processor(made[kind], kind).process_batch([docs], "b"))
            # Documents that were done twice leave old records and old blocks behind.
            (docs / "d5.txt").write_text((docs / "d5.txt").read_text() + f"Changed for {kind}. ")
            asyncio.run(processor(made[kind], kind).resume_batch("b"))
            for other in made:  # the change is one for all
                asyncio.run(processor(made[other], other).resume_batch("b"))
        return made[kind]

    return make


@pytest.fixture
def copy(sound: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    def copy(kind: str) -> Path:
        shutil.copytree(sound(kind), tmp_path / "state")
        return tmp_path / "state"

    return copy


def files(state: Path) -> Iterator[Path]:
    for path in sorted((state / "b").rglob("*")):
        if path.is_file() and path.stat().st_size:
            yield path


def flip(path: Path, at: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def mend(state: Path, kind: str) -> Repair:
    return asyncio.run(repair(processor(state, kind), "b"))


def lose_derived(state: Path) -> None:
    for path in (state / "b").glob("**/catalog.sqlite*"):
        path.unlink()
    for path in (state / "b").glob("**/index.*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def block_at(state: Path, kind: str, name: str) -> int:
    """A byte in the middle of the block of the document called ``name``."""
    batch = CheckpointManager(state, keyring=keys_of(kind)).open("b")
    found = [
        event.block
        for event in batch.events()
        if getattr(event, "doc_id", "").endswith(name) and getattr(event, "block", None)
    ]
    assert found[-1] is not None
    return int(found[-1].offset + found[-1].length // 2)


@pytest.mark.parametrize("kind", KINDS)
def test_flips(sound: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    """Each flip, wherever it is, is harmless or repaired; before that, search tells no untruth."""
    whole = sound(kind)
    expected, _ = hits(whole, kind)
    chance = random.Random(kind)
    count = FLIPS if kind == "plain" else FLIPS // 4
    names = [path.relative_to(whole) for path in files(whole)]
    assert len(names) >= 6
    for number in range(count):
        state = tmp_path / str(number)
        shutil.copytree(whole, state)
        path = state / names[number % len(names)]
        at, bit = chance.randrange(path.stat().st_size), chance.randrange(8)
        flip(path, at, bit)
        where = f"bit {bit} of byte {at} of {path.name}"
        if number % 2:
            lose_derived(state)
        try:
            found, damaged = hits(state, kind)
            for before, after in zip(expected, found, strict=True):
                known = [hit for hit in before if hit["doc_id"] not in damaged]
                assert [hit for hit in after if hit in known] == known, where
        except StorageError:
            pass
        report = mend(state, kind)
        assert report.is_whole, (where, report)
        assert verify("b", state, keys_of(kind)).is_clean, where
        assert hits(state, kind) == (expected, []), where
        shutil.rmtree(state)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_costs_one_document(
    copy: Callable[[str], Path], docs: Path, kind: str
) -> None:
    state = copy(kind)
    expected, _ = hits(state, kind)
    flip(state / "b" / "segment.bin", block_at(state, kind, "d3.txt"), 4)
    name = str(docs / "d3.txt")
    found = verify("b", state, keys_of(kind))
    assert found.damaged == [name]
    assert found.to_dict()["remedy"] == "lesson15 repair b"
    lose_derived(state)
    for _ in range(2):  # the second time the index is there, and is known to be partial
        left, damaged = hits(state, kind)
        assert damaged == [name]
        assert all(hit["doc_id"] != name for part in left for hit in part)
        assert all(left)
    asyncio.run(processor(state, kind).resume_batch("b"))  # goes on with the rest
    report = mend(state, kind)
    assert (report.redone, report.failures, report.faults) == ([name], [], [])
    assert hits(state, kind) == (expected, [])
    assert verify("b", state, keys_of(kind)).is_clean


def test_the_index_is_older_than_the_damage(copy: Callable[[str], Path], docs: Path) -> None:
    state = copy("plain")
    flip(state / "b" / "segment.bin", block_at(state, "plain", "d3.txt"), 4)
    searcher = Searcher("b", state, HashingEmbedder(), Keyring())
    found = searcher.search(text(3, 200), 3)
    assert len(found) == 3
    assert searcher.damaged == [str(docs / "d3.txt")]
    searcher.close()


def test_a_damaged_document_without_source_is_set_aside(
    copy: Callable[[str], Path], docs: Path
) -> None:
    state = copy("plain")
    flip(state / "b" / "segment.bin", block_at(state, "plain", "d3.txt"), 4)
    source = docs / "d3.txt"
    content = source.read_text()
    source.unlink()
    try:
        report = mend(state, "plain")
    finally:
        source.write_text(content)
    assert [failure.doc_id for failure in report.failures] == [str(source)]
    assert (report.redone, report.faults) == ([], [])
    result = verify("b", state, Keyring())
    assert result.is_clean, result.faults
    state_now = CheckpointManager(state, keyring=Keyring()).open("b").state
    assert (state_now.processed_docs, state_now.skipped_docs) == (11, 1)


@pytest.mark.parametrize("kind", ["plain", "encrypted"])
@pytest.mark.parametrize("what", ["payload", "checksum", "space", "newline", "a newline too many"])
def test_a_flip_in_the_journal_loses_no_record(
    copy: Callable[[str], Path], kind: str, what: str
) -> None:
    """Every record, damaged or not, is read again where one bit was flipped."""
    state = copy(kind)
    batch = CheckpointManager(state, keyring=keys_of(kind)).open("b")
    path, size = batch.folder.journal, batch.commit.journal_bytes
    before = list(batch.events())
    lines = path.read_bytes()[:size].splitlines(keepends=True)
    start = 0
    for number, line in enumerate(lines):
        whole = path.read_bytes()
        at, bit = {
            "payload": (start + 9 + (len(line) - 9) // 2, 1),
            "checksum": (start + 3, 6),
            "space": (start + 8, 2),
            "newline": (start + len(line) - 1, 0),
            "a newline too many": (start + 20, 0),
        }[what]
        if what == "a newline too many":  # more than one bit, but one byte
            data = bytearray(whole)
            data[at] ^= 1 if (data[at] ^ 10).bit_count() != 1 else data[at] ^ 10
            path.write_bytes(data)
        else:
            flip(path, at, bit)
        salvage = Salvage(path, batch.commit.position, batch.cipher)
        assert list(salvage.events()) == before, (number, line)
        assert salvage.lost == 0
        path.write_bytes(whole)
        start += len(line)


def test_two_damaged_records_cost_two_documents(copy: Callable[[str], Path]) -> None:
    """What cannot be read is done again; what lies before and after it stays."""
    state = copy("plain")
    expected, _ = hits(state, "plain")
    journal = state / "b" / "journal.log"
    data = journal.read_bytes()
    for name in (b"d2.txt", b"d8.txt"):
        at = data.index(name)
        data = data[: at - 6] + b"\xff\xff\xff" + data[at - 3 :]
    journal.write_bytes(data)
    lose_derived(state)
    with pytest.raises(StorageError, match="lesson15 repair"):
        hits(state, "plain")
    report = mend(state, "plain")
    assert report.lost_records == 2
    assert report.is_whole, report
    assert hits(state, "plain") == (expected, [])
    last = CheckpointManager(state, keyring=Keyring()).open("b")
    assert last.folder.generation == 1
    *_, (position, _) = read_journal(last.folder.journal)
    assert position == last.commit.position


@pytest.mark.parametrize("name", ["checkpoint.json", "journal.log", "segment.bin"])
@pytest.mark.parametrize("how", ["cut", "gone", "garbage"])
def test_whole_files(copy: Callable[[str], Path], name: str, how: str) -> None:
    state = copy("plain")
    expected, _ = hits(state, "plain")
    path = state / "b" / name
    if how == "gone":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] if how == "cut" else bytes(len(data)))
    report = mend(state, "plain")
    assert not report.faults, report
    asyncio.run(processor(state, "plain").resume_batch("b"))
    assert hits(state, "plain") == (expected, [])
    assert verify("b", state, Keyring()).is_clean


def test_what_cannot_be_repaired_is_said(copy: Callable[[str], Path]) -> None:
    state = copy("plain")
    manifest = state / "b" / "manifest.json"
    manifest.write_bytes(b"{}")
    with pytest.raises(RepairError, match=r"manifest\.json.*backup"):
        mend(state, "plain")
    with pytest.raises(UsageError, match="No batch 'other'"):
        asyncio.run(repair(processor(state, "plain"), "other"))


def test_an_encrypted_batch_without_its_salt(copy: Callable[[str], Path]) -> None:
    state = copy("encrypted")
    (state / "b" / "checkpoint.json").unlink()
    with pytest.raises(Lesson15Error, match="salt"):
        mend(state, "encrypted")


def test_the_commands(copy: Callable[[str], Path], docs: Path, command: Run) -> None:
    state = copy("plain")
    at = ("--state-dir", state)
    name = str(docs / "d3.txt")
    flip(state / "b" / "segment.bin", block_at(state, "plain", "d3.txt"), 4)
    code, out, _ = command("verify", "b", *at)
    assert code == 1
    assert name in out
    assert "lesson15 repair b" in out
    lose_derived(state)
    code, out, err = command("search", text(3, 9), "--batch-id", "b", *at, "--json")
    assert code == 0
    assert f'"damaged": ["{name}"]' in out
    assert name in err
    assert "lesson15 repair b" in err
    code, out, err = command("repair", "b", *at, "--json")
    assert (code, err) == (0, "")
    assert f'"redone": ["{name}"]' in out
    code, out, err = command("repair", "b", *at)
    assert code == 0
    assert "clean" in out


def test_a_batch_that_workers_are_at_is_left_alone(copy: Callable[[str], Path]) -> None:
    state = copy("plain")
    (state / "b" / "shards").mkdir()
    with pytest.raises(UsageError, match="Workers are not done with batch 'b'"):
        mend(state, "plain")


@pytest.mark.parametrize("name", ["checkpoint.json", "manifest.json"])
def test_a_file_of_another_batch_is_not_made_this_ones(
    copy: Callable[[str], Path], name: str
) -> None:
    state = copy("plain")
    shutil.copytree(state / "b", state / "other")
    if name == "manifest.json":  # then the checkpoint says nothing against it
        (state / "other" / "checkpoint.json").unlink()
    with pytest.raises(RepairError, match=rf"{name}.*belongs to 'b'"):
        asyncio.run(repair(processor(state, "plain"), "other"))


def test_a_refusing_disk_is_no_damage(copy: Callable[[str], Path]) -> None:
    state = copy("plain")
    checkpoint = state / "b" / "checkpoint.json"
    checkpoint.unlink()
    checkpoint.mkdir()  # it cannot be read, whoever asks
    with pytest.raises(StateReadError, match=r"checkpoint\.json"):
        mend(state, "plain")


def test_lost_records_are_looked_for_where_the_sources_are(
    copy: Callable[[str], Path], docs: Path
) -> None:
    state = copy("plain")
    expected, _ = hits(state, "plain")
    journal = state / "b" / "journal.log"
    data = journal.read_bytes()
    at = data.index(b"d2.txt")
    journal.write_bytes(data[: at - 6] + b"\xff\xff\xff" + data[at - 3 :])
    away = docs.with_name("away")
    docs.rename(away)
    try:
        report = mend(state, "plain")
    finally:
        away.rename(docs)
    assert report.lost_records == 1
    assert any(str(docs) in fault and "put it back" in fault for fault in report.faults)
    asyncio.run(processor(state, "plain").resume_batch("b"))
    assert hits(state, "plain") == (expected, [])
    assert verify("b", state, Keyring()).is_clean
