"""Running `lesson15 ...` as users do, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lesson15(
    *arguments: object,
    given: str | None = None,
    cwd: Path = ROOT,
    sites: tuple[Path, ...] = (),
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """What came of ``lesson15 ARGUMENTS``, in which nothing waits before it tries again.

    Args:
        arguments: those of the command line.
        given: what stands on standard input.
        cwd: where it runs.
        sites: folders of packages, as if those were installed.
        environment: more variables.
    """
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *sites)))}
    return subprocess.run(
        [sys.executable, "-m", "lesson15.cli", *map(str, arguments)],
        capture_output=True, text=True, timeout=250, check=False, cwd=cwd, input=given,
        env={**os.environ, "LESSON15_RETRY_DELAY": "0", **paths, **environment},
    )  # fmt: skip
