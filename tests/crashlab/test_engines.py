"""Small engines that keep many records: each right one passes, each wrong one loses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lesson15 import crashlab
from tests.crashlab.engines import HEAD, JOURNAL, RIGHT, WRONG


def judge(source: str, **options: Any) -> crashlab.Result:
    names: dict[str, Any] = {"__name__": "cell"}
    exec(compile(source, "<cell>", "exec"), names)
    options = {"check": crashlab.everything, "limit": None, **options}  # None: in this process
    return crashlab.explore(names["work"], names["recover"], **options)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_engine_passes(name: str) -> None:
    result = judge(RIGHT[name])
    assert result.is_safe, str(result)
    assert result.distinct > 30


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_engine_loses(name: str) -> None:
    result = judge(WRONG[name])
    assert result.lost
    assert not result.error
    assert not result.unseen
    assert result.smallest is not None
    assert len({number for number, _ in result.smallest.fates}) <= 2


def test_the_same_run_gives_the_same_result() -> None:
    first, second = (judge(WRONG["checkpoint in place"]) for _ in range(2))
    assert first.picture() == second.picture()
    assert (first.states, first.distinct, first.losers) == (
        second.states,
        second.distinct,
        second.losers,
    )


MENDS_WRONGLY = HEAD + JOURNAL.replace('"ab"', '"ab+"') + '''
def recover(folder):
    path = folder / "journal"
    if not path.exists():
        return []
    records, size = unseal(path.read_bytes())
    if size < path.stat().st_size:
        with open(path, "wb") as journal:
            journal.write(b"".join(map(seal, records)))
            journal.flush()
            fsync(journal)
    return records
'''  # fmt: skip


def test_a_recovery_that_a_second_crash_undoes() -> None:
    assert judge(MENDS_WRONGLY).is_safe
    result = judge(MENDS_WRONGLY, second_crash=True)
    assert result.lost
    assert result.smallest is not None
    assert "once more" in result.smallest.in_recovery
    assert "once more" in result.picture()
    mended = MENDS_WRONGLY.replace('open(path, "wb")', 'open(path, "rb+")').replace(
        'journal.write(b"".join(map(seal, records)))', "journal.truncate(size)"
    )
    assert judge(mended, second_crash=True).is_safe


MANY = """
import os, re

def work(folder, promise):
    for number in range(6):
        (folder / f"{number}.txt").write_text(f"{number:03}!")
    SYNC
    for number in range(6):
        promise(number)

def recover(folder):
    data = [path.read_bytes() for path in folder.glob("*.txt")]
    return [int(each[:3]) for each in data if re.fullmatch(rb"[0-9]{3}!", each)]
"""


def test_too_many_disks_are_sampled_and_it_is_said() -> None:
    right = judge(MANY.replace("SYNC", "os.sync()"), most_states=1)
    assert right.sampled > 5
    assert right.is_safe
    assert "chosen, by seed 0" in str(right)
    wrong = judge(MANY.replace("SYNC", ""), most_states=1)
    assert wrong.lost
    assert wrong.smallest is not None
    assert len(wrong.smallest.fates) == 1
    again = judge(MANY.replace("SYNC", ""), most_states=1)
    other = judge(MANY.replace("SYNC", ""), most_states=1, seed=1)
    assert again.losers == wrong.losers
    assert other.losers != wrong.losers


def test_a_kinder_disk() -> None:
    def save(folder: Path, value: int) -> None:
        (folder / "new").write_text(str(value))
        os.replace(folder / "new", folder / "state")
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def setup(folder: Path, promise: Any) -> None:
        save(folder, 0)
        promise(0)

    def work(folder: Path, promise: Any) -> None:
        for value in (1, 2):
            save(folder, value)
            promise(value)

    def in_place(folder: Path, promise: Any) -> None:
        (folder / "state").write_text("1")
        promise(1)

    def recover(folder: Path) -> int:
        return int((folder / "state").read_text())

    assert crashlab.explore(work, recover, setup=setup).lost
    assert crashlab.explore(work, recover, setup=setup, disk="ext4").is_safe
    assert crashlab.explore(in_place, recover, setup=setup, disk="ext4").lost
