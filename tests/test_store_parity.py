"""The whole engine on each store: what holds with FAISS holds with Chroma."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lesson15 import BatchProcessor, Searcher, verify
from lesson15.errors import SettingsMismatchError

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.parametrize("store", ["faiss", "chroma"])
Make = Callable[..., BatchProcessor]


def hits(state: Path, query: str, k: int = 3, batch_id: str = "b") -> list[tuple[str, float]]:
    searcher = Searcher(batch_id, state)
    try:
        return [(Path(hit.doc_id).name, round(hit.score, 4)) for hit in searcher.search(query, k)]
    finally:
        searcher.close()


async def test_run_search_and_verify(store: str, docs: Path, state: Path, make: Make) -> None:
    report = await make(store=store).process_batch([docs], "b")
    assert (report["processed_docs"], report["failed_docs"]) == (10, 2)
    result = verify("b", state)
    assert (result.is_clean, result.index) == (True, "current"), result.faults
    await make(store="faiss").process_batch([docs], "exact")
    for number in range(10):
        query = f"subject {number * 37}"
        assert hits(state, query, 1) == hits(state, query, 1, "exact")
    with pytest.raises(SettingsMismatchError):
        await make(store="faiss" if store == "chroma" else "chroma").resume_batch("b")


async def test_changed_new_and_vanished_files(
    store: str, docs: Path, state: Path, make: Make
) -> None:
    await make(store=store).process_batch([docs], "b")
    assert hits(state, "subject 74", 1)[0][0] == "d2.txt"
    (docs / "d1.txt").write_text("now about volcanoes " * 40)
    (docs / "d2.txt").unlink()
    (docs / "new.txt").write_text("penguins swim " * 40)
    report = await make().process_batch([docs], "b", resume=True)
    assert (report["total_docs"], report["processed_docs"]) == (12, 10)
    assert verify("b", state).is_clean
    assert hits(state, "volcanoes", 1)[0][0] == "d1.txt"
    assert hits(state, "penguins", 1)[0][0] == "new.txt"
    found = {name for name, _ in hits(state, "subject 74", 100)}
    assert "d2.txt" not in found


async def test_resume_of_a_finished_batch_writes_nothing(
    store: str, docs: Path, state: Path, make: Make
) -> None:
    first = await make(store=store).process_batch([docs], "b")
    kept = {name: (state / "b" / name).read_bytes() for name in ("journal.log", "segment.bin")}
    again = await make().resume_batch("b")
    assert (first.pop("run")["new"], again.pop("run")["unchanged"]) == (10, 12)
    assert again == first
    assert kept == {name: (state / "b" / name).read_bytes() for name in kept}
    assert verify("b", state).index == "current"


async def test_a_lost_index_is_built_again(store: str, docs: Path, state: Path, make: Make) -> None:
    await make(store=store).process_batch([docs], "b")
    for path in (state / "b").glob("index*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not verify("b", state).is_clean
    assert hits(state, "subject 111", 1)[0][0] == "d3.txt"
    assert verify("b", state).is_clean


def start(docs: Path, state: Path, command: str, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "lesson15.cli", command, *more, "--state-dir", state],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT,
        env={**os.environ, "LESSON15_RETRY_DELAY": "0"},
    )  # fmt: skip


def test_killed_and_searched_in_between(store: str, tmp_path: Path, state: Path) -> None:
    docs = tmp_path / "many"
    docs.mkdir()
    for number in range(300):
        (docs / f"d{number:03}.txt").write_text(f"Document {number}, subject {number * 37}. " * 20)
    process = start(docs, state, "run", str(docs), "--batch-id", "b", "--embedder", "hashing",
                    "--store", store, "--checkpoint-interval", "10")  # fmt: skip
    segment = state / "b" / "segment.bin"
    deadline = time.monotonic() + 60
    while not segment.exists() or segment.stat().st_size < 100_000:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    assert len(hits(state, "subject 37", 5)) == 5  # of what is committed, as it runs
    process.kill()
    process.wait()
    interrupted = verify("b", state)
    assert interrupted.is_clean, interrupted.faults
    assert 0 < interrupted.documents < 300
    assert len(hits(state, "subject 37", 5)) == 5  # a search brings the index up to date
    # Another process goes on, and this one, which has searched before, must see what it wrote.
    assert start(docs, state, "resume", "b").wait(timeout=120) == 0
    result = verify("b", state)
    assert result.is_clean, result.faults
    assert result.documents == 300
    assert hits(state, "Document 299, subject 11063.", 1)[0][0] == "d299.txt"
