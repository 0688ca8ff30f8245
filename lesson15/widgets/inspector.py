"""The checkpoint inspector: what lies on disk, and how much of it counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import traitlets

from lesson15.checkpoint.manager import CheckpointManager
from lesson15.errors import BatchNotFoundError, Lesson15Error
from lesson15.lab.session import BatchSession
from lesson15.widgets.base import SessionWidget, source, table_html

_RECORDS = 12
_TAIL_BYTES = 16 * 1024
_ROLES = {
    "checkpoint.json": "the commit: which bytes of journal and segment count",
    "manifest.json": "what the batch is made of; written once",
    "journal.log": "what happened, one checksummed line each; append-only",
    "segment.bin": "vectors and texts; append-only",
    "catalog.sqlite": "derived: the table of documents",
    "index": "derived: the search index",
}


class CheckpointInspector(SessionWidget):
    """Files, committed offsets, ``checkpoint.json`` and the last journal records of a batch."""

    _esm = source("inspector.js")
    pace = 0.5
    content = traitlets.Dict().tag(sync=True)

    def __init__(self, session: BatchSession) -> None:
        super().__init__(session, content=inspect(session))

    def refresh(self) -> None:
        """Read the folder again."""
        self.content = inspect(self.session)

    def receive(self, message: dict[str, Any]) -> None:  # noqa: ARG002 - there is but one
        """The refresh button."""
        self.refresh()

    def static_html(self) -> str:
        """The files as a table."""
        self.refresh()
        rows = [
            (file["name"], f"{file['bytes']} bytes; {file['role']}")
            for file in self.content["files"]
        ]
        return table_html(rows, f"Checkpoint: {self.content['summary']}")

    def static_text(self) -> str:
        """The last commit in a line."""
        return f"Checkpoint: {self.content['summary']}"


def inspect(session: BatchSession) -> dict[str, Any]:
    """The state of the session's batch on disk, as JSON-ready values."""
    nothing: dict[str, Any] = {"files": [], "checkpoint": "", "records": []}
    try:
        batch = CheckpointManager(session.spec.state_dir, makes_folder=False).open(session.batch_id)
        folder, state, commit = batch.folder, batch.state, batch.commit
        records = _last_records(folder.journal, commit.journal_bytes)
    except BatchNotFoundError:
        return {"summary": "none yet", **nothing}
    except (Lesson15Error, OSError) as error:
        return {"summary": str(error), **nothing}
    committed = {"journal.log": commit.journal_bytes, "segment.bin": commit.segment_bytes}
    return {
        "summary": f"commit {commit.number}, {state.settled_docs} of {state.total_docs} documents",
        "files": [
            {
                "name": path.name,
                "bytes": _size(path),
                "committed": committed.get(path.name),
                "role": role,
            }
            for start, role in _ROLES.items()
            for path in sorted(folder.root.glob(f"{start}*"))
        ],
        "checkpoint": folder.checkpoint.read_text(encoding="utf-8"),
        "records": records,
    }


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _last_records(journal: Path, committed: int) -> list[str]:
    """The last committed records, without their checksums; read from the end, at any length."""
    if not committed:
        return []
    with journal.open("rb") as file:
        file.seek(max(0, committed - _TAIL_BYTES))
        lines = file.read(min(committed, _TAIL_BYTES)).decode(errors="replace").splitlines()
    return [
        line[9:] if line[9:].startswith("{") else "(an encrypted record)"
        for line in lines[-_RECORDS:]
    ]
