"""Doing a batch again with something else: searches find the old one until the new one is whole."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lesson15 import Batch, BatchProcessor, CheckpointManager, Searcher, verify
from lesson15.checkpoint.encryption import Keyring
from lesson15.embedding import HashingEmbedder
from lesson15.engine.rekey import rekey
from lesson15.errors import (
    BatchNotFoundError,
    ReembedIncompleteError,
    SourcesMissingError,
    UsageError,
)
from lesson15.events import DocSettled, DocStarted, Event
from lesson15.models import BatchReport
from lesson15.settings import Settings
from tests.test_identity import Toy

Make = Callable[..., BatchProcessor]
SMALL = Settings(retry_delay=0, chunk_chars=200, chunk_overlap_chars=20)


def generation(state: Path) -> int:
    return CheckpointManager(state).open("b").folder.generation


def found(state: Path, text: str, **options: Any) -> list[str]:
    searcher = Searcher("b", state, **options)
    try:
        return [Path(hit.doc_id).name for hit in searcher.search(text, 3)]
    finally:
        searcher.close()


def started(processor: BatchProcessor) -> list[str]:
    names: list[str] = []
    processor.listeners.append(
        lambda event: (
            names.append(Path(event.doc_id).name) if isinstance(event, DocStarted) else None
        )
    )
    return names


def cancel_after(processor: BatchProcessor, count: int) -> None:
    settled: list[Event] = []

    def look(event: Event) -> None:
        if isinstance(event, DocSettled):
            settled.append(event)
            if len(settled) == count:
                processor.cancel()

    processor.listeners.append(look)


async def test_the_old_is_searched_until_the_new_is_whole(
    docs: Path, state: Path, make: Make
) -> None:
    first = await make(store="chroma").process_batch([docs], "b")
    processor = make(settings=SMALL, embedder=HashingEmbedder(64), store="faiss", interval=1)
    looks: list[tuple[list[str], int]] = []

    def look(event: Event) -> None:
        if isinstance(event, DocSettled):
            looks.append((found(state, "subject 111"), generation(state)))

    processor.listeners.append(look)
    report = await processor.resume_batch("b", reembed=True)
    assert len(looks) == 12
    assert {at for _, at in looks} == {0}
    assert {names[0] for names, _ in looks} == {"d3.txt"}
    assert (report["processed_docs"], report["failed_docs"]) == (10, 2)
    assert report["chunks"] > 2 * first["chunks"]
    manifest = CheckpointManager(state).open("b").manifest
    assert (manifest.chunk_chars, manifest.chunk_overlap_chars) == (200, 20)
    assert (manifest.dimensions, manifest.store) == (64, "faiss")
    assert generation(state) == 1
    result = verify("b", state)
    assert result.is_clean, result.faults
    assert found(state, "subject 111", embedder=HashingEmbedder(64))[0] == "d3.txt"
    left = {path.name for path in (state / "b").iterdir()}
    assert left == {"checkpoint.json", "generation-1", "lock"}
    inside = {path.name for path in (state / "b" / "generation-1").iterdir()}
    assert not inside & {"checkpoint.json", "lock", "owner.json"}
    # It is a batch like any other: resumed, and done again.
    (docs / "new.txt").write_text("volcanoes and lava")
    same = make(embedder=HashingEmbedder(64))
    assert (await same.resume_batch("b"))["processed_docs"] == 11
    again = await make(embedder="hashing").resume_batch("b", reembed=True)
    assert (again["processed_docs"], generation(state)) == (11, 2)
    assert found(state, "volcanoes and lava")[0] == "new.txt"
    assert CheckpointManager(state).open("b").manifest.chunk_chars == 200  # what was not asked for


async def test_its_report_counts_by_what_the_batch_had(docs: Path, state: Path, make: Make) -> None:
    await make().process_batch([docs], "b")
    (docs / "d3.txt").unlink()
    (docs / "d4.txt").write_text("another text")
    (docs / "new.txt").write_text("volcanoes and lava")
    report = await make(settings=SMALL).resume_batch("b", reembed=True)
    run = report["run"]
    assert (report["processed_docs"], report["failed_docs"]) == (10, 2)
    assert (run["new"], run["updated"], run["dropped"], run["failed"]) == (1, 9, 1, 2)


async def test_it_goes_on_where_it_was_interrupted(docs: Path, state: Path, make: Make) -> None:
    await make().process_batch([docs], "b")
    first = make(settings=SMALL, interval=1, max_concurrent=1)
    before = started(first)
    cancel_after(first, 5)
    report = await first.resume_batch("b", reembed=True)
    assert (report["status"], generation(state)) == ("cancelled", 0)
    with Batch.open(state, "b") as batch:
        assert (batch.status()["status"], batch.status()["processed_docs"]) == ("finished", 10)
        again = batch.reembedding()
        assert again is not None
        assert 5 <= again["processed_docs"] + again["failed_docs"] < 12
    (docs / "d1.txt").write_text("now about volcanoes")
    await make().resume_batch("b")  # the old one is gone on with as ever
    assert found(state, "now about volcanoes")[0] == "d1.txt"
    second = make(settings=SMALL)
    after = started(second)
    report = await second.resume_batch("b", reembed=True)
    assert (report["status"], report["processed_docs"], generation(state)) == ("finished", 10, 1)
    assert set(before) | set(after) == {path.name for path in docs.iterdir()}
    assert len(set(before) & set(after) - {"d1.txt", "broken.json", "empty.txt"}) <= 1
    assert found(state, "now about volcanoes")[0] == "d1.txt"
    assert verify("b", state).is_clean
    with Batch.open(state, "b") as batch:
        assert batch.reembedding() is None


@pytest.mark.parametrize("what", ["another size", "another model", "damage", "rekey"])
async def test_what_was_begun_is_begun_anew(docs: Path, state: Path, make: Make, what: str) -> None:
    await make(embedder=Toy()).process_batch([docs], "b")
    first = make(settings=SMALL, embedder=Toy(1), interval=1, max_concurrent=1)
    cancel_after(first, 5)
    await first.resume_batch("b", reembed=True)
    settings, embedder = SMALL, Toy(1)
    if what == "another size":
        settings = Settings(retry_delay=0, chunk_chars=300, chunk_overlap_chars=20)
    elif what == "another model":
        embedder = Toy(2)
    elif what == "damage":
        segment = state / "b" / "generation-1" / "segment.bin"
        segment.write_bytes(segment.read_bytes()[:100])
    else:
        rekey("b", state, Keyring({"one": bytes(range(32))}))
        assert not (state / "b" / "generation-2").exists()
    processor = make(settings=settings, embedder=embedder)
    if what == "rekey":
        processor.checkpoint_manager = CheckpointManager(
            state, keyring=Keyring({"one": bytes(range(32))})
        )
    names = started(processor)
    report = await processor.resume_batch("b", reembed=True)
    assert report["status"] == "finished"
    assert set(names) == {path.name for path in docs.iterdir()}
    keys = processor.checkpoint_manager.keyring
    assert processor.checkpoint_manager.open("b").manifest.chunk_chars == settings.chunk_chars
    assert verify("b", state, keys).is_clean
    assert found(state, "subject 111", embedder=embedder, keys=keys)[0] == "d3.txt"


async def test_a_document_that_cannot_be_done_again_is_not_lost(
    docs: Path, state: Path, make: Make
) -> None:
    await make().process_batch([docs], "b")
    (docs / "d3.txt").write_bytes(b"")
    (docs / "d4.txt").unlink()
    with pytest.raises(ReembedIncompleteError, match=r"1 of its documents .*d3\.txt.*--prune"):
        await make(settings=SMALL).resume_batch("b", reembed=True)
    assert generation(state) == 0
    assert found(state, "subject 111")[0] == "d3.txt"
    second = make(settings=SMALL)
    names = started(second)
    with pytest.raises(ReembedIncompleteError):
        await second.resume_batch("b", reembed=True)
    assert set(names) == {"d3.txt", "empty.txt", "broken.json"}  # what failed is tried again
    report = await make(settings=SMALL).resume_batch("b", reembed=True, prune=True)
    assert (report["processed_docs"], report["failed_docs"]) == (8, 3)
    assert {Path(failure["doc_id"]).name for failure in report["failures"]} == {
        "d3.txt", "empty.txt", "broken.json"
    }  # fmt: skip
    assert verify("b", state).is_clean


async def test_what_failed_for_another_reason_is_mended(
    docs: Path, state: Path, make: Make
) -> None:
    """A step that breaks on a document is mended, and the file has not changed."""
    await make().process_batch([docs], "b")
    is_broken = True

    def picky(chunks: Any) -> Any:
        if is_broken and "subject 111" in chunks[0].text:
            raise ValueError("not this one")
        return chunks

    with pytest.raises(ReembedIncompleteError, match=r"d3\.txt"):
        await make(steps=[picky]).resume_batch("b", reembed=True)
    is_broken = False
    report = await make(steps=[picky]).resume_batch("b", reembed=True)
    assert (report["processed_docs"], generation(state)) == (10, 1)
    assert CheckpointManager(state).open("b").manifest.steps == ("picky",)


async def test_missing_sources_are_refused_before_anything_is_done(
    docs: Path, state: Path, make: Make
) -> None:
    await make().process_batch([docs], "b")
    docs.rename(docs.with_name("away"))
    with pytest.raises(SourcesMissingError):
        await make(settings=SMALL).resume_batch("b", reembed=True)
    assert not (state / "b" / "generation-1").exists()
    docs.with_name("away").rename(docs)
    processor = make(settings=SMALL, max_concurrent=1)

    def unmount(event: Event) -> None:
        if isinstance(event, DocSettled) and docs.exists():
            docs.rename(docs.with_name("away"))

    processor.listeners.append(unmount)
    with pytest.raises(UsageError):  # which of the two depends on what was read before
        await processor.resume_batch("b", reembed=True)
    assert generation(state) == 0
    docs.with_name("away").rename(docs)
    report = await make(settings=SMALL).resume_batch("b", reembed=True)
    assert (report["processed_docs"], report["skipped_docs"], generation(state)) == (10, 0, 1)


async def test_documents_from_elsewhere_are_done_again(
    tmp_path: Path, docs: Path, state: Path, make: Make
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.txt").write_text("volcanoes and lava")
    await make().process_batch((str(path) for path in sorted(docs.iterdir())), "b")  # a stream
    await make().process_batch([other], "b", resume=True)
    report = await make(settings=SMALL).resume_batch("b", reembed=True)
    assert (report["processed_docs"], report["failed_docs"]) == (11, 2)
    assert found(state, "volcanoes and lava")[0] == "x.txt"


async def test_an_unfinished_batch_is_finished_by_it(docs: Path, state: Path, make: Make) -> None:
    first = make(interval=1, max_concurrent=1)
    cancel_after(first, 4)
    await first.process_batch([docs], "b")
    report = await make(settings=SMALL).resume_batch("b", reembed=True)
    assert (report["status"], report["processed_docs"]) == ("finished", 10)


async def test_refusals(docs: Path, state: Path, make: Make) -> None:
    with pytest.raises(BatchNotFoundError):
        await make().resume_batch("b", reembed=True)
    await make().process_batch([docs], "b")
    (state / "b" / "shards").mkdir()
    with pytest.raises(UsageError, match="Workers are not done"):
        await make().resume_batch("b", reembed=True)


KILLED = """
import asyncio, sys
from lesson15 import BatchProcessor
from lesson15.settings import Settings

state, chars = sys.argv[1], int(sys.argv[2])
settings = Settings(retry_delay=0, chunk_chars=chars, chunk_overlap_chars=20)
processor = BatchProcessor(2, 1, state_dir=state, embedder="hashing", settings=settings)
print("begins", flush=True)
asyncio.run(processor.resume_batch("b", reembed=True))
"""


@pytest.mark.timeout(900)
def test_killed_at_any_time(docs: Path, state: Path, make: Make) -> None:
    """By SIGKILL, again and again: each time the old or the new is whole."""
    for number in range(40):
        (docs / f"more{number}.txt").write_text(f"Another text, of theme {number}. " * 20)
    asyncio.run(make().process_batch([docs], "b"))
    size, at, kills = 800, 0, 0
    delay = 0.02
    for _ in range(60):
        wanted = 200 if size != 200 else 300
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(state), str(wanted)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=dict(os.environ),
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == b"begins\n"
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        is_killed = child.wait() == -signal.SIGKILL
        child.stdout.close()
        kills += is_killed
        batch = CheckpointManager(state).open("b")
        result = verify("b", state)
        assert result.is_clean, result.faults
        assert found(state, "subject 111")[0] == "d3.txt"
        assert batch.state.processed_docs == 50
        manifest = batch.manifest
        if batch.folder.generation != at:  # switched, killed after that or not
            assert manifest.chunk_chars == wanted
            size, at = wanted, batch.folder.generation
            delay = 0.02
            if at == 2 and kills >= 8:
                break
        else:
            assert manifest.chunk_chars == size
            delay *= 1.5
    assert kills >= 8
    assert at >= 1
    asyncio.run(make(settings=SMALL).resume_batch("b", reembed=True))
    assert verify("b", state).is_clean


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lesson15.cli", *map(str, arguments)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "LESSON15_RETRY_DELAY": "0", **environment},
    )  # fmt: skip


def test_the_command(docs: Path, state: Path) -> None:
    for name in ("broken.json", "empty.txt"):
        (docs / name).unlink()
    at = ("--state-dir", state)
    made = run("run", docs, "--batch-id", "b", "--embedder", "hashing", "--chunk-chars", 400, *at)
    assert made.returncode == 0, made.stderr
    same = run("resume", "b", *at, "--chunk-chars", 400)
    assert same.returncode == 0, same.stderr
    for options, environment in (
        (("--chunk-chars", 300), {}),
        (("--chunk-overlap-chars", 3), {}),
        ((), {"LESSON15_CHUNK_CHARS": "300"}),
        (("--embedder", "minilm"), {}),
    ):
        refused = run("resume", "b", *at, *options, **environment)
        assert refused.returncode == 2, options
        assert "lesson15 resume b --reembed" in refused.stderr
        assert "Traceback" not in refused.stderr
    both = run("resume", "b", *at, "--reembed", "--files-from", docs / "d1.txt")
    assert (both.returncode, "--files-from" in both.stderr) == (2, True)
    again = run("resume", "b", *at, "--reembed", "--chunk-chars", 300, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout).keys() == BatchReport.__dataclass_fields__.keys()
    assert CheckpointManager(state).open("b").manifest.chunk_chars == 300
    status = run("status", "b", *at)
    assert "done again" not in status.stdout
    shown = run("resume", "--help")
    assert "--reembed" in shown.stdout
