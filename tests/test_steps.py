"""Steps between chunking and embedding, in the real engine."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lesson15 import BatchProcessor, CheckpointManager, Searcher, verify
from lesson15.errors import (
    NetworkTimeoutError,
    SettingsMismatchError,
    UnknownNameError,
    UsageError,
)
from lesson15.models import Chunk
from lesson15.settings import Settings

Make = Callable[..., BatchProcessor]
Chunks = Sequence[Chunk]


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two Markdown documents."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "bees.md").write_text("# Bees\n\n## Honey\n\nripe in July\n\n## Wax\n\nwhite\n")
    (folder / "tides.md").write_text("# Tides\n\nTwo a day.\n")
    return folder


def found(state: Path, text: str, k: int = 9) -> dict[str, Any]:
    searcher = Searcher("b", state)
    try:
        return {hit.text: hit for hit in searcher.search(text, k)}
    finally:
        searcher.close()


def output_of(*arguments: object) -> str:
    """What Python prints, called with ``arguments``."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def shout(chunks: Chunks) -> list[Chunk]:
    return [replace(chunk, text=chunk.text.upper()) for chunk in chunks]


def first_only(chunks: Chunks) -> Chunks:
    return chunks[:1]


def summarised(chunks: Chunks) -> Iterator[Chunk]:
    yield from chunks
    yield Chunk(f"a summary of {len(chunks)}", {"kind": "summary", "of": [1, None, {"a": 0.5}]})


class Translate:
    def __init__(self) -> None:
        self.threads: set[int] = set()

    async def __call__(self, chunks: Chunks) -> list[Chunk]:
        await asyncio.sleep(0)
        self.threads.add(threading.get_ident())
        return [replace(chunk, meta={**chunk.meta, "language": "xx"}) for chunk in chunks]


def by_a_coroutine(chunks: Chunks) -> Any:
    return Translate()(chunks)


async def test_steps_change_drop_and_add(docs: Path, state: Path, make: Make) -> None:
    threads: set[int] = set()

    def watched(chunks: Chunks) -> Chunks:
        threads.add(threading.get_ident())
        return chunks

    translate = Translate()
    steps = [shout, summarised, translate, watched, Translate, by_a_coroutine]
    report = await make(steps=steps).process_batch(["docs"], "b")
    assert (report["processed_docs"], report["chunks"]) == (2, 5)
    assert verify("b", state).is_clean
    hits = found(state, "honey")
    honey = hits["# BEES\n\n## HONEY\n\nRIPE IN JULY"]
    assert (honey.heading, honey.page, honey.chunk) == (["Bees", "Honey"], None, 0)
    assert honey.span == (0, 30)
    assert honey.meta["language"] == "xx"
    summary = hits["a summary of 2"]
    assert (summary.heading, summary.span) == (None, None)
    assert summary.meta == {"kind": "summary", "of": [1, None, {"a": 0.5}], "language": "xx"}
    # Plain functions run beside the event loop, asynchronous ones on it.
    assert threading.get_ident() not in threads
    assert translate.threads == {threading.get_ident()}
    manifest = CheckpointManager(state).open("b").manifest
    assert manifest.steps == (
        "shout", "summarised", "Translate", "watched", "Translate", "by_a_coroutine"
    )  # fmt: skip
    assert manifest.chunker == "default"


def explode(chunks: Chunks) -> Chunks:
    raise ZeroDivisionError("a bug")


def forget(chunks: Chunks) -> Any:
    [chunk.text for chunk in chunks]


def drop_all(chunks: Chunks) -> Chunks:
    return []


def blank(chunks: Chunks) -> list[Chunk]:
    return [replace(chunk, text=" \n") for chunk in chunks]


def tag(chunks: Chunks) -> list[Chunk]:
    return [replace(chunk, meta={"tags": {"a"}}) for chunk in chunks]


def miss_a_file(chunks: Chunks) -> Chunks:
    Path("/nowhere/words.txt").read_text()
    return chunks


def leave(chunks: Chunks) -> Chunks:
    sys.exit(3)


def stop(chunks: Chunks) -> Chunks:
    return [next(iter([]))]


async def fail_later(chunks: Chunks) -> Chunks:
    raise KeyError("later")


def refuse(chunks: Chunks) -> Chunks:
    from lesson15.errors import InvalidResultError

    raise InvalidResultError(path="tides.md", detail="not in the language of the house")


@pytest.mark.parametrize(
    ("step", "part", "attempts"),
    [
        (explode, "the step 'explode' failed (ZeroDivisionError: a bug)", 2),
        (forget, "the step 'forget' made what cannot be used (a value of the type NoneType", 2),
        (drop_all, "the step 'drop_all' left no chunk of it", 2),
        (blank, "the step 'blank' left no chunk of it", 2),
        (
            tag,
            "the step 'tag' made what cannot be used (meta['tags'] is a value of the type set",
            2,
        ),
        (miss_a_file, "the step 'miss_a_file' failed (FileNotFoundError", 2),
        (leave, "the step 'leave' failed (RuntimeError: SystemExit: 3)", 2),
        (stop, "the step 'stop' failed", 2),
        (fail_later, "the step 'fail_later' failed (KeyError: 'later')", 2),
        (refuse, "not in the language of the house", 2),
    ],
)
async def test_a_failing_step_is_named(
    docs: Path, state: Path, make: Make, step: Any, part: str, attempts: int
) -> None:
    def sometimes(chunks: Chunks) -> Any:
        return step(chunks) if "Tides" in chunks[0].text else chunks

    sometimes.__name__ = step.__name__
    report = await make(steps=[sometimes]).process_batch(["docs"], "b")
    assert report["processed_docs"] == 1
    (failure,) = report["failures"]
    assert part in failure["error"]
    assert failure["error"].partition(":")[0].endswith("tides.md")
    assert failure["attempts"] == attempts
    assert verify("b", state).is_clean


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (TimeoutError("the service is slow"), 4),
        (ConnectionResetError("the service is gone"), 4),
        (MemoryError("too much"), 6),
        (NetworkTimeoutError(operation="translation", seconds=1), 4),
    ],
)
async def test_transient_errors_of_a_step_are_retried(
    docs: Path, state: Path, make: Make, error: Exception, attempts: int
) -> None:
    calls: list[int] = []

    def flaky(chunks: Chunks) -> Chunks:
        calls.append(1)
        if len(calls) < attempts:
            raise error
        return chunks

    (docs / "bees.md").unlink()
    report = await make(steps=[flaky]).process_batch(["docs"], "b")
    assert report["processed_docs"] == 1
    assert len(calls) == attempts


async def test_a_step_that_hangs_is_left_behind(docs: Path, state: Path, make: Make) -> None:
    released = threading.Event()

    def hang(chunks: Chunks) -> Chunks:
        if "Tides" in chunks[0].text:
            released.wait(600)
        return chunks

    settings = Settings(retry_delay=0, step_timeout=2, max_retries=1)
    report = await make(steps=[hang], settings=settings).process_batch(["docs"], "b")
    released.set()
    (failure,) = report["failures"]
    assert "The step 'hang' took longer than 2.0 s. Raise LESSON15_STEP_TIMEOUT" in failure["error"]
    assert (report["processed_docs"], failure["attempts"]) == (1, 2)


def test_a_hanging_step_does_not_keep_the_process(docs: Path) -> None:
    script = (
        "import time, lesson15\n"
        "from lesson15.settings import Settings\n"
        "def hang(chunks): time.sleep(3600)\n"
        "settings = Settings(retry_delay=0, step_timeout=0.2, max_retries=0)\n"
        "options = {'embedder': 'hashing', 'steps': [hang], 'settings': settings}\n"
        "print(lesson15.run(['docs'], 'b', **options)['failed_docs'])\n"
    )
    assert output_of("-c", script) == "2\n"


async def test_resume_keeps_the_steps(docs: Path, state: Path, make: Make) -> None:
    await make(steps=[first_only, shout]).process_batch(["docs"], "b")
    (docs / "new.md").write_text("# New\n\nIt is windy.\n\n# Other\n\ntext")
    for options, name in (
        ({"steps": [shout, first_only]}, "steps"),
        ({"steps": []}, "steps"),
        ({"chunker": "default", "steps": [shout]}, "steps"),
    ):
        with pytest.raises(SettingsMismatchError, match=f"{name}=\\('first_only', 'shout'\\)"):
            await make(**options).resume_batch("b")
    with pytest.raises(UnknownNameError, match="no step 'first_only'"):
        await make().resume_batch("b")  # a function that no package has: it must be given again
    report = await make(steps=[first_only, shout]).resume_batch("b")
    assert (report["processed_docs"], report["chunks"]) == (3, 3)
    assert "# NEW\n\nIT IS WINDY." in found(state, "windy")
    assert verify("b", state).is_clean


def test_bad_choices_are_refused_at_once(make: Make) -> None:
    for options, part in (
        ({"steps": ["no-such"]}, "no step 'no-such'"),
        ({"chunker": "no-such"}, "no chunker 'no-such'. Choose one of: default"),
        ({"settings": Settings(steps=("no-such",))}, "no step 'no-such'"),
    ):
        with pytest.raises(UnknownNameError, match=part):
            make(**options)
    with pytest.raises(UsageError, match="is one name"):
        make(steps="dedupe")
    with pytest.raises(UsageError, match="3 is no step"):
        make(steps=[3])


def test_a_run_without_faults_loads_none_of_that_code(docs: Path) -> None:
    script = (
        "import sys, lesson15\n"
        "lesson15.run(['docs'], 'b', embedder='hashing')\n"
        "lesson15.Searcher('b', 'checkpoints').close()\n"
        "print([name for name in sys.modules if 'fault' in name and 'lesson15' in name])\n"
    )
    assert output_of("-c", script) == "[]\n"


def test_the_command_line_shows_where_hits_stand(docs: Path, state: Path) -> None:
    def lesson15(*arguments: object) -> str:
        return output_of("-m", "lesson15.cli", *arguments, "--state-dir", state)

    lesson15("run", "docs", "--batch-id", "b", "--embedder", "hashing", "--chunker", "default")
    query = ("search", "honey ripe in July", "--batch-id", "b", "-k", 1)
    assert "docs/bees.md (chunk 0, Bees > Honey)" in lesson15(*query)
    (hit,) = json.loads(lesson15(*query, "--json"))["hits"]
    assert hit["page"] is None
    assert hit["heading"] == ["Bees", "Honey"]
    assert hit["span"] == [0, 30]
    assert hit["meta"] == {"heading": ["Bees", "Honey"], "span": [0, 30]}
