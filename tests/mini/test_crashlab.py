"""``mini.py``, unchanged, judged by Crash Lab as a student's engine is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lesson15 import crashlab
from tests.mini.recording import SOURCE, load_mini
from tests.mini.test_broken import BROKEN


def judge(documents: list[Path], source: str = SOURCE) -> crashlab.Result:
    module = load_mini(source)

    def work(folder: Path, promise: Any) -> None:
        done: list[tuple[str, str]] = []

        class Batch(module.MiniBatch):  # type: ignore[misc, name-defined]
            def commit(self, journal: Any) -> None:
                super().commit(journal)
                for each in done:
                    promise(each)
                done.clear()

        def shout(content: bytes) -> str:
            text = content.decode()
            done.append((text, text.upper()))
            return text.upper()

        Batch(folder / "batch").run(documents, shout, commit_every=2)

    def recover(folder: Path) -> list[tuple[str, str]]:
        _, outcomes = module.MiniBatch(folder / "batch").load()
        return [(each.result.lower(), each.result) for each in outcomes.values()]

    return crashlab.explore(work, recover, check=crashlab.everything, second_crash=True)


@pytest.fixture
def documents(tmp_path: Path) -> list[Path]:
    for number in range(5):
        (tmp_path / str(number)).write_text(f"document {number}")
    return sorted(tmp_path.iterdir())


def test_it_is_safe(documents: list[Path]) -> None:
    result = judge(documents)
    assert result.is_safe, str(result)
    assert result.distinct > 100


@pytest.mark.parametrize(
    "name",
    [
        "journal without fsync",
        "journal flushed by nobody",
        "checkpoint without fsync",
        "checkpoint overwritten in place",
        "rename without fsync of the folder",
        "new folder without fsync of its parent",
    ],
)
def test_a_broken_one_loses(documents: list[Path], name: str) -> None:
    result = judge(documents, BROKEN[name].source())
    assert result.lost
    assert not result.error
    assert not result.unseen
