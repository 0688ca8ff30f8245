"""The queue of batches, durable: what was accepted is on disk before the answer is sent."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, cast, get_args

from lesson15.api.database import Database
from lesson15.host.states import State

JobState = Literal[
    State.QUEUED, State.RUNNING, State.PAUSED, State.CANCELLED, State.ABORTED, State.FINISHED
]
"""What the service is to do with a batch, or has done."""


class JobKind(StrEnum):
    """What a worker does with a batch: process its paths, or its dead-letter list."""

    PROCESS = "process"
    RETRY = "retry"


JobKey = tuple[str, str]
"""User and batch id."""


@dataclass(frozen=True, slots=True)
class Job:
    """One batch of one user. ``paths`` are absolute and without links."""

    user: str
    batch_id: str
    paths: list[str]
    total_files: int
    kind: JobKind = JobKind.PROCESS
    state: JobState = State.QUEUED
    error: str | None = None
    submitted_at: float = field(default_factory=time.time)

    @property
    def key(self) -> JobKey:
        """What tells this batch from all others."""
        return self.user, self.batch_id


class JobStore:
    """The jobs in the service's database; a write is durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put(self, job: Job) -> None:
        """Add ``job``, or replace the one with its key."""
        self._db.write(
            "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
            job.user, job.batch_id, job.kind.value, json.dumps(job.paths), job.total_files,
            job.state.value, job.error, job.submitted_at,
        )  # fmt: skip

    def find(self, key: JobKey) -> Job | None:
        """The job of ``key``."""
        found = self._select("user = ? AND batch_id = ?", *key)
        return found[0] if found else None

    def of_user(self, user: str) -> list[Job]:
        """All jobs of ``user``, oldest first."""
        return self._select("user = ?", user)

    def unfinished(self) -> list[Job]:
        """Those to go on with when the server starts: neither ended, nor stopped by their user.

        One that was aborted by the system (a full disk) is tried again.
        """
        return self._select("state IN ('queued', 'running', 'aborted')")

    def unnotified(self) -> list[Job]:
        """Those that ended without anybody having been told."""
        return self._select("state IN ('finished', 'cancelled', 'aborted') AND NOT is_notified")

    def set_state(self, key: JobKey, state: JobState, error: str | None = None) -> None:
        """Change the state of ``key``."""
        self._db.write(
            "UPDATE jobs SET state = ?, error = ?, is_notified = 0 WHERE user = ? AND batch_id = ?",
            state.value, error, *key,
        )  # fmt: skip

    def set_notified(self, key: JobKey) -> None:
        """Note that the end of ``key`` was told."""
        self._db.write("UPDATE jobs SET is_notified = 1 WHERE user = ? AND batch_id = ?", *key)

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        rows = self._db.read("SELECT state, COUNT(*) FROM jobs GROUP BY state")
        return {state.value: 0 for state in get_args(JobState)} | {row[0]: row[1] for row in rows}

    def _select(self, where: str, *values: str) -> list[Job]:
        rows = self._db.read(
            "SELECT user, batch_id, paths, total_files, kind, state, error, submitted_at "  # noqa: S608 - fixed conditions
            f"FROM jobs WHERE {where} ORDER BY submitted_at",
            *values,
        )
        return [
            Job(row[0], row[1], json.loads(row[2]), row[3], JobKind(row[4]),
                cast("JobState", State(row[5])), row[6], row[7])
            for row in rows
        ]  # fmt: skip
