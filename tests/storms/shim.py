"""Storms of I/O errors: a library that is loaded into real processes and makes their calls fail."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("storm.c")
ERRORS: dict[str, int] = {
    name: getattr(errno, name) for name in ("EIO", "ESTALE", "EACCES", "ENOSPC")
}
NEVER_RETURNS = "never returns"
CALLS = ("stat", "open", "list", "read", "write", "fsync", "rename", "remove")


def compiler() -> str | None:
    """The C compiler of this machine, None if it has none that can be used."""
    return shutil.which("gcc") or shutil.which("cc") if os.uname().sysname == "Linux" else None


def build(folder: Path) -> Path:
    """Compile the library into ``folder``."""
    library = folder / "storm.so"
    options = ["-O1", "-Wall", "-shared", "-fPIC", "-o", str(library)]
    command = [compiler() or "cc", *options, str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return library


@dataclass(frozen=True)
class Storm:
    """Which calls fail, below which folders, with which error, and how often.

    With the ``error`` NEVER_RETURNS they hang instead, as those on a dead file server do.
    ``rate`` is in 10,000ths. If ``is_stuck``, a path always fails or never. The first
    ``spared`` calls that would fail succeed. ``log`` takes a line for each call that failed.
    """

    folders: tuple[Path, ...]
    calls: tuple[str, ...]
    error: str
    seed: int = 0
    rate: int = 10_000
    is_stuck: bool = False
    spared: int = 0
    log: Path | None = None

    @property
    def number(self) -> int:
        """The number of the error, 0 for none."""
        return ERRORS.get(self.error, 0)

    def environment(self) -> dict[str, str]:
        """What the library is told by."""
        told = {
            "STORM_PATHS": ":".join(map(str, self.folders)),
            "STORM_CALLS": ",".join(self.calls),
            "STORM_ERRNO": self.number,
            "STORM_SEED": self.seed,
            "STORM_RATE": self.rate,
            "STORM_STUCK": int(self.is_stuck),
            "STORM_FROM": self.spared,
        }
        if self.log is not None:
            told["STORM_LOG"] = self.log
        return {name: str(value) for name, value in told.items()}

    def struck(self) -> list[tuple[str, str]]:
        """The calls that failed: what kind, and on which path."""
        if self.log is None or not self.log.exists():
            return []
        lines = self.log.read_text(errors="surrogateescape").splitlines()
        return [(line.split(" ", 2)[0], line.split(" ", 2)[2]) for line in lines]
