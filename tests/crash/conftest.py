"""What crash tests share, and the count of crash states over all workers of pytest-xdist."""

from __future__ import annotations

import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lesson15.cli import main
from lesson15.engine.assembly import Assembly

pytest.register_assert_rewrite("tests.crash.recovery_check")
from tests.crash.engine import indexing_in_place  # noqa: E402 - after the line above

Run = Callable[..., tuple[int, str, str]]


def make_memory_folder() -> Path:
    """A folder in memory if the system has one: crash states are many and short-lived."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="lesson15-", dir=memory if memory.is_dir() else None))


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    path = make_memory_folder()
    logging.disable(logging.WARNING)  # thousands of runs, each with a bad document
    yield path
    logging.disable(logging.NOTSET)
    shutil.rmtree(path)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process: exit code, stdout, stderr. No exception may pass."""
    monkeypatch.setenv("LESSON15_RETRY_DELAY", "0")
    monkeypatch.setattr(
        Assembly, "_indexing", lambda _self, _stack, each: indexing_in_place(each.dimensions)
    )
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lesson15", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "crash_states" and report.when == "call"
    ]
    if counts:
        raw, disks, primary = (sum(column) for column in zip(*counts, strict=True))
        terminalreporter.write_line(
            f"crash states: {raw} checked, {primary} distinct ({disks} with the derived files "
            "absent, stale or present), none failing"
        )
