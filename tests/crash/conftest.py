"""What crash tests share, and the count of crash states over all workers of pytest-xdist."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.crash.recovery_check")


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder in memory if the system has one: crash states are many and short-lived."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="lesson15-", dir=memory if memory.is_dir() else None))
    logging.disable(logging.WARNING)  # thousands of runs, each with a bad document
    yield path
    logging.disable(logging.NOTSET)
    shutil.rmtree(path)


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
