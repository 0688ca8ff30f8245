"""What all child processes need: their environment on the way in, words for their end."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from pathlib import Path


def child_environment(without: Collection[str] = ()) -> dict[str, str]:
    """The environment of this process, less the variables ``without``.

    The folder of this very package comes first on PYTHONPATH, however the package was found here.
    """
    root = str(Path(__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return {**kept, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def cause_of_end(status: int) -> str:
    """The exit ``status`` of a process in words; it is negative if a signal ended the process."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"it exited with status {status}"
