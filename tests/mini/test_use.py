"""What a reader of ``mini.py`` is told, bad input, damage, and a second run at the same time."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lesson15 import mini
from lesson15.mini import MiniBatch
from tests.mini.recording import SOURCE


@pytest.fixture
def pages(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.txt" for name in ("ant", "bee", "cat")]
    for path in paths:
        path.write_text(f"All about the {path.stem}.")
    return paths


@pytest.fixture
def batch(memory_folder: Path) -> MiniBatch:
    return MiniBatch(memory_folder / "batch")


def results(batch: MiniBatch) -> list[Any]:
    return [outcome.result for outcome in batch.load()[1].values()]


def test_the_example_is_true() -> None:
    outcome = doctest.testmod(mini)
    assert outcome.failed == 0
    assert outcome.attempted > 8


def test_it_is_short_and_needs_the_standard_library_alone() -> None:
    assert len(SOURCE.splitlines()) <= 150
    code = (
        "import sys; before = set(sys.modules); import lesson15.mini; "
        "print(*(set(sys.modules) - before))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    top = {name.partition(".")[0] for name in run.stdout.split()}
    assert top - {"lesson15"} <= sys.stdlib_module_names
    assert {name for name in run.stdout.split() if name.startswith("lesson15")} == {
        "lesson15",
        "lesson15.mini",
    }


@pytest.mark.parametrize("commit_every", [0, 1, 2, 3, 100])
def test_any_interval(batch: MiniBatch, pages: list[Path], commit_every: int) -> None:
    outcomes = batch.run(pages, len, commit_every)
    assert [outcome.result for outcome in outcomes.values()] == [18, 18, 18]
    assert batch.load()[1] == outcomes


def test_a_document_given_twice_is_done_once(batch: MiniBatch, pages: list[Path]) -> None:
    calls: list[bytes] = []
    batch.run([*pages, *map(str, pages)], calls.append)
    assert len(calls) == 3


def test_documents_of_earlier_runs_stay(batch: MiniBatch, pages: list[Path]) -> None:
    batch.run(pages[:1], len)
    pages[0].unlink()
    assert len(batch.run(pages[1:], len)) == 3


def test_nothing_to_do_writes_nothing(batch: MiniBatch, pages: list[Path]) -> None:
    batch.run(pages, len)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in batch.folder.iterdir()}
    batch.run(pages, len)
    batch.run([], len)
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in batch.folder.iterdir()}
    assert after.keys() == before.keys()
    assert {path: data for path, (data, _) in after.items()} == {
        path: data for path, (data, _) in before.items()
    }
    assert after[batch.checkpoint] == before[batch.checkpoint]


def test_failures_are_on_record_and_tried_again(batch: MiniBatch, pages: list[Path]) -> None:
    pages[1].write_bytes(b"\xff")
    outcomes = batch.run(pages, bytes.decode)
    assert [outcome.error is None for outcome in outcomes.values()] == [True, False, True]
    assert "UnicodeDecodeError" in str(outcomes[str(pages[1])].error)
    again: list[bytes] = []
    outcomes = batch.run(pages, again.append)
    assert again == [b"\xff"]
    assert [outcome.error for outcome in outcomes.values()] == [None, None, None]


def test_a_result_that_json_cannot_express_is_an_error(batch: MiniBatch, pages: list[Path]) -> None:
    outcome = batch.run(pages[:1], lambda content: {content})[str(pages[0])]
    assert "not JSON serializable" in str(outcome.error)


def test_results_and_names_of_any_letters(batch: MiniBatch, tmp_path: Path) -> None:
    name = tmp_path / "检查点\n\r\u2028\udcff.txt"
    name.write_text("断点续传\n\r\u2028", encoding="utf-8", newline="")
    batch.run([name], bytes.decode)
    batch.run([name], bytes.decode)
    assert results(batch) == ["断点续传\n\r\u2028"]


def test_a_missing_document_is_named_and_nothing_is_lost(
    batch: MiniBatch, pages: list[Path], tmp_path: Path
) -> None:
    batch.run(pages, len)
    with pytest.raises(FileNotFoundError, match=r"missing\.txt"):
        batch.run([*pages, tmp_path / "missing.txt"], len)
    assert results(batch) == [18, 18, 18]


def test_a_missing_parent_folder_is_named(pages: list[Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        MiniBatch(tmp_path / "nowhere" / "batch").run(pages, len)


def test_a_second_run_at_the_same_time_is_refused(batch: MiniBatch, pages: list[Path]) -> None:
    refused: list[str] = []

    def work(content: bytes) -> int:
        with pytest.raises(RuntimeError, match="Another run works on") as info:
            MiniBatch(batch.folder).run(pages, len)
        refused.append(str(info.value))
        return len(results(MiniBatch(batch.folder)))  # a look at it is allowed

    batch.run(pages, work, commit_every=1)
    assert len(refused) == 3
    assert results(batch) == [0, 1, 2]


@pytest.mark.parametrize("name", ["journal", "checkpoint"])
def test_each_flipped_bit_is_noticed(batch: MiniBatch, pages: list[Path], name: str) -> None:
    batch.run(pages, len)
    path = batch.folder / name
    sound = path.read_bytes()
    for at in range(len(sound)):
        for bit in range(8):
            flipped = bytearray(sound)
            flipped[at] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(ValueError, match=f"{name} is damaged: restore .*batch, or delete"):
                batch.load()
    with pytest.raises(ValueError, match="is damaged"):
        batch.run(pages, len)
    assert path.read_bytes() == flipped, "a damaged file is left as it is"


@pytest.mark.parametrize("name", ["journal", "checkpoint"])
def test_each_cut_is_noticed(batch: MiniBatch, pages: list[Path], name: str) -> None:
    batch.run(pages, len)
    path = batch.folder / name
    sound = path.read_bytes()
    for size in range(len(sound)):
        path.write_bytes(sound[:size])
        with pytest.raises(ValueError, match="is damaged"):
            batch.load()


def test_a_lost_journal_is_noticed(batch: MiniBatch, pages: list[Path]) -> None:
    batch.run(pages, len)
    batch.journal.unlink()
    with pytest.raises(FileNotFoundError, match="journal"):
        batch.load()
    with pytest.raises(ValueError, match="journal is damaged"):
        batch.run(pages, len)
