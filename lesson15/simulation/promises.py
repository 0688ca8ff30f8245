"""What the engine promises while it lives, checked as it speaks: by its events, its reports, and
what it recovers.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import orjson

from lesson15.checkpoint.batch_files import BatchFiles
from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.journal import Position, read_journal
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.engine.processor import BatchProcessor
from lesson15.engine.writer import Writer
from lesson15.events import (
    AttemptFailed,
    Committed,
    DocRemoved,
    DocSettled,
    DocStarted,
    Event,
    FaultInjected,
    LimitChanged,
    Paused,
    RunStarted,
    Unpaused,
)
from lesson15.models import BatchState, BatchStatus, DocStatus
from lesson15.simulation import oracle
from lesson15.simulation.oracle import Violation
from lesson15.simulation.world import World

_TOLD: dict[type[Any], str] = {
    Paused: "the pause is on record",
    Unpaused: "the end of the pause is on record",
    DocRemoved: "{0.doc_id} is taken out",
    AttemptFailed: "{0.doc_id} is tried again: {0.error}",
    LimitChanged: "from now on {0.limit} documents are in work: {0.reason}",
    FaultInjected: "a fault strikes: {0.fault} at {0.point} ({0.doc_id})",
}
_WITHOUT_FAULT = {"ParserCrashedError", "ParseTimeoutError"}
"""Parser processes are slow, and die, without being told to by a plan of faults."""


class Promises:
    """Checks the promises of one batch over all its lives.

    Args:
        folder: of the universe; ids of documents are relative to it.
        state_dir: where the batch lies.
        batch_id: its name.
        keys: that it is encrypted with, if it is.
        interval: documents between two commits.

    Attributes:
        promised: the last commit that was told of, -1 if there is no batch.
        death: what was written to the journal when the process died, None once it was looked at.
    """

    def __init__(
        self, folder: Path, state_dir: Path, batch_id: str, keys: Keyring, interval: int
    ) -> None:
        self._folder = folder
        self._state_dir = state_dir
        self._batch_id = batch_id
        self._keys = keys
        self._interval = interval
        self._world = World.nowhere()
        self._started: set[str] = set()
        self._struck: set[str] = set()
        self._told: set[str] = set()
        self._durable: set[str] = set()
        self._files: BatchFiles | None = None
        self.promised = -1
        self.death: bytes | None = None

    def begin(self, world: World) -> None:
        """Another life begins, in ``world``."""
        self._world = world

    def note_durable(self) -> None:
        """A commit is durable: no crash can undo the documents in it."""
        if self._files is None:
            return
        commit = orjson.loads(self._files.folder.checkpoint.read_bytes())["commit"]
        stop = Position(commit["journal_bytes"], commit["journal_crc"])
        journal = read_journal(self._files.folder.journal, stop=stop, cipher=self._files.cipher)
        durable: set[str] = set()
        for _, event in journal:  # another thread may go on while it is read
            if isinstance(event, RunStarted):
                durable = set()
            elif isinstance(event, DocSettled):
                durable.add(event.doc_id)
        self._durable = durable

    def watch(self, processor: BatchProcessor) -> None:
        """Check what ``processor`` promises in a run."""
        processor.writer_callbacks.append(self._check_recovered)
        processor.listeners.append(self._listen)
        self._started, self._struck, self._told, self._durable = set(), set(), set(), set()
        self._files = None

    def fail(self, text: str) -> NoReturn:
        """Put a broken promise on record, where an exception might be caught, and end the world."""
        if self._world.failure is None:
            self._world.failure = Violation(text)
        self._world.stop()

    # --- while it works -----------------------------------------------------------------------

    def _listen(self, event: Event) -> None:
        """What the engine tells, on the event loop; it would only log an exception."""
        try:
            self._hear(event)
        except Exception as error:  # noqa: BLE001 - a bug of the simulation
            self.fail(f"{type(error).__name__}: {error}")

    def _hear(self, event: Event) -> None:
        self._world.progress()
        match event:
            case Committed():
                self.promised = event.number
                self._world.note(f"commit {event.number} is promised")
            case DocStarted():
                if event.doc_id in self._started:
                    self.fail(f"{event.doc_id} is handed out twice in one run")
                self._started.add(event.doc_id)
            case DocSettled():
                self._world.note(f"{event.doc_id} is {event.status.value}")
                self._check_verdict(event)
                self._told.add(event.doc_id)
                waiting = len(self._told - self._durable)
                if waiting > 2 * self._interval:
                    self.fail(
                        f"{waiting} documents wait for a commit, though an interval is "
                        f"{self._interval}: a crash would undo more than two"
                    )
            case _ if type(event) in _TOLD:
                self._world.note(_TOLD[type(event)].format(event))
        if isinstance(event, FaultInjected):
            self._struck.add(event.doc_id or "")

    def _check_verdict(self, event: DocSettled) -> None:
        """A verdict is on the very bytes of the file, and a failure has a reason."""
        path = self._folder / event.doc_id
        if event.status is DocStatus.DONE:
            if path.exists() and event.sha256 != sha256(path.read_bytes()).hexdigest():
                self.fail(f"{event.doc_id} is done with the content of another document")
        elif (
            event.doc_id not in self._struck
            and path.suffix != ".json"
            and event.error_type not in _WITHOUT_FAULT
        ):
            self.fail(f"{event.doc_id} has failed without a reason: {event.error}")

    # --- after a crash ------------------------------------------------------------------------

    def _check_recovered(self, writer: Writer) -> None:
        """Exactly one commit was recovered, none before the last promised one."""
        files = self._files = writer.files
        number, position = files.committed.number, files.committed.position
        if number < self.promised:
            raise Violation(f"commit {self.promised} was promised, and {number} is recovered")
        self._world.note(f"commit {number} is recovered")
        self.promised = number
        journal = files.folder.journal.read_bytes()
        if len(journal) != position.offset:
            raise Violation("the journal's tail is not cut")
        if self.death is not None and not self.death.startswith(journal):
            raise Violation("the journal is not what was written before the crash")
        self.death = None
        events = oracle.events_of(files.folder.journal, files.cipher)
        if number and not (isinstance(events[-1], Committed) and events[-1].number == number):
            raise Violation(f"the journal does not end with commit {number}")
        counts = oracle.counts_of(events, BatchState(self._batch_id))
        if counts != oracle.counts_in(files.state):
            raise Violation(f"the checkpoint does not have the counts of its journal, {counts}")
        found = {row.doc_id: (row.status, row.chunks) for row in writer.catalog.scan()}
        live = oracle.live_documents(events)
        if found != {name: (event.status, event.chunks) for name, event in live.items()}:
            raise Violation("the catalogue differs from the journal")

    # --- at its end ---------------------------------------------------------------------------

    def check_report(self, report: dict[str, Any], there: int, *, may_be_cancelled: bool) -> None:
        """A run that has finished has a verdict on all of ``there`` documents, and on disk."""
        status = report["status"]
        self._world.note(f"the run is {status}")
        if status != BatchStatus.FINISHED:
            if status != BatchStatus.CANCELLED or not may_be_cancelled:
                raise Violation(f"the run ends as {status}")
            return
        settled = report["processed_docs"] + report["failed_docs"] + report["skipped_docs"]
        if settled != there:
            raise Violation(f"the run has finished with {settled} of {there} documents")
        stored = CheckpointManager(self._state_dir, keyring=self._keys).open(self._batch_id).state
        if (stored.status, stored.processed_docs) != (status, report["processed_docs"]):
            raise Violation(f"the run is {status}, and its checkpoint says {stored.status}")
