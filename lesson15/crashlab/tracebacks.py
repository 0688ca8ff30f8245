"""A traceback of the code under test, without the lines of the tools around it."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

_HERE = str(Path(__file__).parent)
_LIBRARIES = tuple(
    path for key in ("stdlib", "platstdlib", "purelib") if (path := sysconfig.get_path(key))
)


def trimmed(error: BaseException) -> str:
    """What was raised, and the student's own lines on the way there."""
    frames = traceback.extract_tb(error.__traceback__)
    others = (_HERE, *_LIBRARIES, "<frozen")
    lines = [
        f"{_file(frame.filename)}, line {frame.lineno}, in {frame.name}: {frame.line}"
        for frame in frames
        if not frame.filename.startswith(others)
    ]
    last = "".join(traceback.format_exception_only(error)).strip()
    return "\n".join([*(line.rstrip(": ") for line in lines), last])


def _file(name: str) -> str:
    """The file as its author knows it."""
    return "this notebook" if "ipykernel" in name else Path(name).name
