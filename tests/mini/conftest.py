"""A folder in memory, and the count of crash states over all workers of pytest-xdist."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.conftest import make_memory_folder

pytest.register_assert_rewrite("tests.mini.crash_check")


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    path = make_memory_folder()
    yield path
    shutil.rmtree(path)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "mini_crash_states" and report.when == "call"
    ]
    if counts:
        states, distinct = (sum(column) for column in zip(*counts, strict=True))
        terminalreporter.write_line(
            f"mini.py: {states} crash states checked, {distinct} distinct, none failing"
        )
