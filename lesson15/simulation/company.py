"""Who else acts on a batch while the engine works: an operator, a reader, a rival."""

from __future__ import annotations

import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from random import Random

from lesson15.checkpoint.encryption import Cipher
from lesson15.checkpoint.journal import read_journal
from lesson15.checkpoint.layout import batch_lock
from lesson15.engine.processor import BatchProcessor
from lesson15.errors import BatchLockedError, CatalogError, Lesson15Error, StorageError
from lesson15.events import Committed
from lesson15.models import BatchState
from lesson15.simulation import oracle
from lesson15.simulation.choices import Choices
from lesson15.simulation.disk import SimulatedDisk
from lesson15.simulation.promises import Promises
from lesson15.simulation.world import World
from lesson15.stores.catalog import Catalog

_ACTS = ["pause", "pause", "cancel", "look", "look", "compete"]
_MOST_ACTS = 3


class Company:
    """Threads that act on ``batch_id`` of ``processor`` in one life, at moments of the seed.

    Attributes:
        has_rival: whether a rival may have held the lock of the batch, for however long.
    """

    def __init__(
        self,
        world: World,
        choices: Choices,
        processor: BatchProcessor,
        promises: Promises,
        disk: SimulatedDisk,
        batch_id: str,
    ) -> None:
        self._world = world
        self._choices = choices
        self._processor = processor
        self._promises = promises
        self._disk = disk
        self._batch_id = batch_id
        self.has_rival = False

    def begin(self) -> None:
        """Start whoever acts in this life."""
        by_name = {
            "pause": (self._pause, "operator"), "cancel": (self._cancel, "operator"),
            "look": (self._look, "reader"), "compete": (self._compete, "rival"),
        }  # fmt: skip
        for _ in range(self._choices.number("acts", 0, _MOST_ACTS)):
            act = self._choices.decide("act", lambda draw: draw.choice(_ACTS), "")
            wait = self._choices.decide("wait", draw_seconds, 0.01)
            if act:
                work, name = by_name[act]
                threading.Thread(target=work, args=(wait,), name=name).start()

    def _pause(self, wait: float) -> None:
        time.sleep(wait)
        self._world.act("pauses the batch")
        self._processor.pause()
        time.sleep(self._choices.decide("length of a pause", draw_seconds, 0.01))
        self._world.act("lets the batch go on")
        self._processor.unpause()

    def _cancel(self, wait: float) -> None:
        time.sleep(wait)
        self._world.act("cancels the batch")
        self._processor.cancel()

    def _compete(self, wait: float) -> None:
        """Want the batch, which nobody must get before its lock is free."""
        time.sleep(wait)
        folder = self._processor.checkpoint_manager.folder(self._batch_id)
        if not folder.has_batch:
            return
        self.has_rival = True  # before it has the lock: it may be held back with it
        try:
            with batch_lock(folder):
                if self._batch_id in self._processor.active_batches:
                    self._promises.fail("a rival gets the lock of the batch while it is worked on")
        except BatchLockedError:
            self._world.act("finds the batch locked")

    def _look(self, wait: float) -> None:
        """Read the batch while it is worked on: it must be as of one commit."""
        time.sleep(wait)
        manager, promises = self._processor.checkpoint_manager, self._promises
        if not manager.folder(self._batch_id).has_batch:
            return
        least = promises.promised
        try:
            batch = manager.open(self._batch_id)
        except Lesson15Error as error:
            promises.fail(f"a reader beside the engine gets {type(error).__name__}: {error}")
        seen = oracle.counts_in(batch.state)
        if seen not in (found := self._counts_of_commits(least, batch.cipher)):
            promises.fail(f"a reader sees the counts {seen}; those of commits are {found}")
        with suppress(CatalogError), closing(Catalog.snapshot(batch)) as catalog:
            position = catalog.position
            if position.offset > manager.open(self._batch_id).commit.journal_bytes:
                promises.fail("a reader sees in the catalogue what is not committed")
            events = [event for _, event in read_journal(
                batch.folder.journal, stop=position, cipher=batch.cipher
            )]  # fmt: skip
            live = oracle.live_documents(events)
            verdicts = {event.doc_id: event.status for event in catalog.scan()}
            if verdicts != {name: event.status for name, event in live.items()}:
                promises.fail("a reader sees a part of a commit in the catalogue")
        self._world.act(f"sees {seen[0]} documents done")

    def _counts_of_commits(self, least: int, cipher: Cipher | None) -> list[oracle.Counts]:
        """The counts at each commit from number ``least`` on, whether it is done or under way."""
        journal = self._disk.written(f"{self._batch_id}/journal.log")
        copy = Path(self._disk.root.parent) / "journal.copy"
        copy.write_bytes(journal[: journal.rfind(b"\n") + 1])
        state, number = BatchState(self._batch_id), 0
        counts = [oracle.counts_in(state)] if least <= 0 else []
        with suppress(StorageError):  # a torn tail
            for _, event in read_journal(copy, cipher=cipher):
                found = oracle.counts_of([event], state)
                if isinstance(event, Committed):
                    number += 1
                    if number >= least:
                        counts.append(found)
        return counts


def draw_seconds(generator: Random) -> float:
    """From a tenth of a millisecond to five seconds."""
    return float(round(10.0 ** generator.uniform(-4, 0.7), 5))
