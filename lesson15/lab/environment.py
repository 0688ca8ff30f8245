"""The environment of child processes: they must find this very package, however it was found."""

from __future__ import annotations

import os
from pathlib import Path

import lesson15


def environment() -> dict[str, str]:
    """That of this process, with the folder of this package first on PYTHONPATH."""
    root = str(Path(lesson15.__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
