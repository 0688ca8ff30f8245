"""Fail if the branch coverage of engine, checkpoint, faults and recovery is below a percentage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

GUARDED = ("lesson15/engine/", "lesson15/checkpoint/", "lesson15/faults/", "lesson15/recovery.py")


def main() -> None:
    """Read the combined data of coverage.py; the first argument is the percentage."""
    report = Path("build/coverage.json")
    report.parent.mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "coverage", "json", "--quiet", "-o", str(report)], check=True
    )
    covered = total = 0
    for name, entry in json.loads(report.read_text())["files"].items():
        if name.startswith(GUARDED):
            summary = entry["summary"]
            covered += summary["covered_branches"]
            total += summary["num_branches"]
    percent = 100 * covered / total
    print(f"branches of {', '.join(GUARDED)}: {covered} of {total}, {percent:.1f} %")
    if percent < float(sys.argv[1]):
        sys.exit(f"that is below {sys.argv[1]} %")


if __name__ == "__main__":
    main()
