"""Batches that earlier versions of lesson15 made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lesson15.checkpoint.state_files import encode

DATA = Path(__file__).parent / "data"


def old_batches(version: int, course: Path) -> None:
    """Put the batches of a schema version into ``course``, beside their documents.

    The base folder of the sealed one cannot be moved.
    """
    shutil.copytree(DATA / f"v{version}", course)
    shutil.copytree(DATA / "v1" / "docs", course / "docs")
    for batch in ("finished", "killed"):
        path = course / batch / "manifest.json"
        content = json.loads(path.read_text())
        assert content["schema_version"] == version
        content["manifest"]["base_dir"] = str(course)
        del content["checksum"]
        path.write_bytes(encode(content))  # the version stays, the checksum is made anew
        assert json.loads(path.read_text())["schema_version"] == version
