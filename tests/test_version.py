"""`lesson15 --version`, and `python -m lesson15` in place of the command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lesson15

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lesson15", *arguments],
        capture_output=True, text=True, cwd=ROOT, timeout=280,
    )  # fmt: skip


def test_the_version_is_printed_alone_and_wins_over_a_command() -> None:
    for arguments in (["--version"], ["--version", "status", "no-such-batch"]):
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"lesson15 {lesson15.__version__}\n"


def test_the_help_names_the_option_and_the_module() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "--version" in done.stdout
    assert "python -m lesson15" in done.stdout
    assert run("no-such-command").returncode == 2
