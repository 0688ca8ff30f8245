"""What ``explore`` says of code that fails, hangs or is not what it must be."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lesson15 import crashlab
from lesson15.errors import UsageError


def write_one(folder: Path, promise: Any) -> None:
    with open(folder / "new", "w") as file:
        file.write("1")
        file.flush()
        os.fsync(file)
    os.replace(folder / "new", folder / "one")
    os.sync()
    promise(1)


def read_one(folder: Path) -> int | None:
    path = folder / "one"
    return int(path.read_text()) if path.exists() else None


def test_an_error_of_work_is_told_by_its_own_line() -> None:
    def work(folder: Path, promise: Any) -> None:
        print("before it")
        raise KeyError("mine")

    result = crashlab.explore(work, read_one)
    assert not result.is_safe
    assert result.error is not None
    assert 'raise KeyError("mine")' in result.error
    assert "exploring.py" not in result.error
    assert "fails even without a crash" in str(result)


def test_a_recovery_that_raises_loses_and_is_told_by_its_own_line() -> None:
    def recover(folder: Path) -> int:
        return int((folder / "one").read_text())

    loser = crashlab.explore(write_one, recover).smallest
    assert loser is not None
    assert 'return int((folder / "one").read_text())' in loser.wrong
    assert "FileNotFoundError" in loser.wrong
    assert "pathlib.py" not in loser.wrong
    assert "crashlab/" not in loser.wrong


def hang(*_: Any) -> None:
    while True:
        pass


def end(*_: Any) -> None:
    os._exit(3)


def test_what_hangs_is_ended() -> None:
    started = time.monotonic()
    result = crashlab.explore(hang, read_one, limit=1)
    assert result.error == "`work` did not end within 1 seconds."
    result = crashlab.explore(write_one, hang, limit=10)
    assert result.smallest is not None
    assert "`recover` did not end within 10 seconds" in result.smallest.wrong
    assert time.monotonic() - started < 200


def test_what_ends_its_process_is_noticed() -> None:
    assert crashlab.explore(end, read_one).error == "`work` ended its whole process."
    loser = crashlab.explore(write_one, end).smallest
    assert loser is not None
    assert "ended its whole process" in loser.wrong
    loser = crashlab.explore(write_one, lambda folder: sys.exit(3)).smallest
    assert loser is not None
    assert "SystemExit" in loser.wrong


def test_a_check_of_ones_own() -> None:
    seen: list[Any] = []

    def check(recovered: Any, promised: Any, begun: Any) -> object:
        seen.append((recovered, tuple(promised), tuple(begun)))
        return not promised or recovered == promised[-1]

    result = crashlab.explore(write_one, read_one, check=check, limit=None)
    assert result.is_safe
    assert (None, (), (1,)) in seen
    assert (1, (1,), ()) in seen
    for wrong, said in [
        (lambda *_: "no luck", "no luck"),
        (lambda *_: False, "says no"),
        (lambda *_: 1 / 0, "ZeroDivisionError"),
        (lambda *_: pytest.fail("x"), "Failed: x"),
    ]:
        loser = crashlab.explore(write_one, read_one, check=wrong, limit=None).smallest
        assert loser is not None
        assert said in loser.wrong


def test_what_was_never_begun_may_not_be_there() -> None:
    def work(folder: Path, promise: Any) -> None:
        (folder / "new").write_text("17")
        os.sync()
        os.replace(folder / "new", folder / "one")
        promise.begin(18)
        os.sync()
        promise(17)

    loser = crashlab.explore(work, read_one).smallest
    assert loser is not None
    assert "which nobody has written" in loser.wrong


def test_nothing_is_changed_outside_and_nothing_is_left() -> None:
    changed: list[int] = []

    def work(folder: Path, promise: Any) -> None:
        changed.append(1)
        print("said in the child")
        write_one(folder, promise)

    result = crashlab.explore(work, read_one)
    assert result.is_safe
    assert changed == []
    assert "said in the child" in result.printed
    memory = Path("/dev/shm")
    assert not list(memory.glob(f"crashlab-{os.getpid()}-*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"work": 3}, "`work` must be a function, not 3"),
        ({"work": lambda folder: None}, r"work\(folder, promise\), which it does not take"),
        ({"recover": lambda: None}, r"recover\(folder\), which it does not take"),
        ({"check": lambda recovered: None}, r"check\(recovered, promised, begun\)"),
        ({"setup": "x"}, "`setup` must be a function"),
        ({"disk": "fat"}, '"strict" or "ext4"'),
        ({"most_states": 0}, "`most_states` must be at least 1"),
        ({"limit": -1}, "`limit` must be seconds"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        crashlab.explore(**{"work": write_one, "recover": read_one, **arguments})


def test_a_work_that_promises_nothing_is_no_proof() -> None:
    result = crashlab.explore(lambda folder, promise: None, read_one)
    assert not result.is_safe
    assert "promised nothing" in str(result)


def test_the_wrong_ready_check_is_named() -> None:
    loser = crashlab.explore(write_one, read_one, check=crashlab.everything).smallest
    assert loser is not None
    assert "check=crashlab.latest" in loser.wrong


def test_large_files_end_in_time() -> None:
    def work(folder: Path, promise: Any) -> None:
        with open(folder / "large", "wb") as file:
            for part in range(100):
                file.write(bytes([part % 256]) * 10_000)
            file.flush()
            os.fsync(file)
        os.sync()
        promise(1_000_000)

    def recover(folder: Path) -> int | None:
        path = folder / "large"
        size = path.stat().st_size if path.exists() else 0
        return size if size == 1_000_000 else None

    started = time.monotonic()
    result = crashlab.explore(work, recover, limit=60)
    assert result.sampled > 50
    assert result.is_safe, str(result)
    assert time.monotonic() - started < 300
