"""One universe: the engine lives, is killed, lives again on what is left, and is judged.

A life is one run of the engine in a world of its own. It ends by itself, by a cancellation, by a
fault, or because the power goes or the process is killed at a moment that the seed picks. The next
life resumes on the disk that is left. The last one is calm: then the batch must be what one document
after the other makes of the files.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from fcntl import LOCK_EX, flock
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from lesson15.checkpoint.encryption import Cipher, Keyring
from lesson15.checkpoint.journal import read_journal
from lesson15.checkpoint.layout import batch_lock
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.engine import feed
from lesson15.engine.processor import BatchProcessor
from lesson15.engine.writer import Writer
from lesson15.errors import (
    BatchLockedError,
    CatalogError,
    EmbeddingModelError,
    Lesson15Error,
    SourcesMissingError,
    StorageError,
)
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
    Unpaused,
)
from lesson15.models import BatchState, BatchStatus, DocStatus
from lesson15.simulation import oracle
from lesson15.stores.catalog import Catalog
from lesson15.simulation.choices import Choices, Value
from lesson15.simulation.disk import SimulatedDisk, Wreck
from lesson15.simulation.loop import run_in_world
from lesson15.simulation.oracle import Violation
from lesson15.simulation.patches import replaced
from lesson15.simulation.scenario import (
    Documents,
    Scenario,
    SlowEmbedder,
    chances_of,
    fault_plan,
    settings_of,
    slowness_of,
    tidy,
)
from lesson15.simulation.world import Chances, Ended, World

BATCH = "b"
_SAID = (StorageError, EmbeddingModelError)
"""How a run may end when the system or the model is made to fail."""
_EVENTS: dict[type[Event], str] = {
    Paused: "the pause is on record",
    Unpaused: "the end of the pause is on record",
    DocRemoved: "{0.doc_id} is taken out",
    AttemptFailed: "{0.doc_id} is tried again: {0.error}",
    LimitChanged: "the limit is {0.limit} documents: {0.reason}",
}
_WITHOUT_FAULT = {"ParserCrashedError", "ParseTimeoutError"}
"""Parser processes are slow, and die, without being told to by a plan of faults."""


@dataclass(frozen=True)
class Outcome:
    """What a universe came to.

    Attributes:
        seed: of the universe.
        violation: the promise that was broken, None if none was.
        choices: the unusual decisions: with the seed, all that it takes to make it again.
        story: what happened, as (life, seconds, actor or "", text).
        journal: the journal at the end.
        crashes: how many lives were cut off.
        points: how often somebody else could have gone on.
        seconds: virtual time.
    """

    seed: int
    violation: str | None
    choices: dict[str, Value]
    story: list[tuple[int, float, str, str]] = field(repr=False)
    journal: bytes = field(repr=False)
    crashes: int
    points: int
    seconds: float


def run_universe(
    seed: int,
    choices: Mapping[str, Value] | None = None,
    *,
    interleaved: bool = True,
    make_embedder: Callable[[int], Any] = SlowEmbedder,
    steps: Sequence[Any] | None = None,
) -> Outcome:
    """Run the universe of ``seed``, or that of ``choices`` if they are given.

    Args:
        seed: picks documents, settings, schedule, crashes and faults.
        choices: the decisions of an earlier :class:`Outcome`, or some of them.
        interleaved: whether jobs in threads and parser processes are cut into steps.
        make_embedder: makes the embedder of each life, given how many threads it is to stand.
        steps: steps that chunks go through, as :class:`BatchProcessor` takes them.

    Raises:
        RuntimeError: a universe runs in this process already.
    """
    outcome: list[Outcome | BaseException] = []

    def target() -> None:
        try:
            with _folder(seed) as folder:
                universe = Universe(folder, Choices(seed, choices), interleaved=interleaved)
                universe.make_embedder, universe.steps = make_embedder, steps
                outcome.append(universe.run())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            outcome.append(error)

    # In a thread of its own: the caller may have an event loop, a tracer or a context.
    thread = threading.Thread(target=target, name="lesson15-universe")
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


@contextmanager
def _folder(seed: int) -> Iterator[Path]:
    """A folder in memory whose name depends on ``seed`` alone, as names of files are on record."""
    memory = Path("/dev/shm")  # noqa: S108 - checked below
    place = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    place = place / f"lesson15-universes-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    with (place / f"{seed}.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        root = place / str(seed)
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        try:
            yield root
        finally:
            shutil.rmtree(root, ignore_errors=True)


class Universe:
    """The lives of one batch in ``folder``."""

    def __init__(self, folder: Path, choices: Choices, *, interleaved: bool = True) -> None:
        self._folder = folder
        self._choices = choices
        self._interleaved = interleaved
        self._state = folder / "state"
        self._scenario = Scenario.of(choices)
        self._settings = settings_of(self._scenario)
        self._keys = Keyring.of(self._settings)
        self._docs = Documents(folder / "docs", choices, self._scenario.documents)
        self._now = 0.0
        self._points = self._crashes = 0
        self._story: list[tuple[int, float, str, str]] = []
        self._promised = -1
        self._death: bytes | None = None
        self._started: set[str] = set()
        self._unacknowledged = 0
        self._struck: set[str] = set()
        self._life = 0
        self._wreck: Wreck | None = None
        self.make_embedder: Callable[[int], Any] = SlowEmbedder
        self.steps: Sequence[Any] | None = None
        self._world = self._new_world(Chances())
        self._disk = SimulatedDisk(self._state, self._world)
        self._state.mkdir()

    # --- lives --------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Live, and judge."""
        violation = None
        try:
            for _ in range(self._scenario.lives):
                self._live(is_calm=False)
                for text in self._docs.change(self._scenario.documents):
                    self._note(text)
            self._live(is_calm=True)
            self._judge()
        except Violation as found:
            violation = str(found)
        journal = self._state / BATCH / "journal.log"
        return Outcome(
            self._choices.seed,
            violation,
            dict(self._choices.made),
            self._story,
            journal.read_bytes() if journal.exists() else b"",
            self._crashes,
            self._points,
            round(self._now, 3),
        )

    def _new_world(self, chances: Chances) -> World:
        world = World(self._choices, chances)
        world.now = self._now
        world.pid = 4000 + 100 * self._life
        return world

    def _live(self, *, is_calm: bool) -> None:
        """One life, to its end; raises Violation."""
        self._life += 1
        self._choices.era = f"life {self._life}: "
        chances = Chances(0.0, 0.0) if is_calm else chances_of(self._choices)
        world = self._world = self._new_world(replace(chances, interleaved=self._interleaved))
        world.on_kill = lambda: self._die(is_power_cut=False)
        self._wreck = None
        self._disk.begin(world, 0.0 if is_calm else slowness_of(self._choices))
        kind, _, at = ("" if is_calm else self._choices.decide("crash", _draw_crash, "")).partition(
            " before "
        )
        is_power_cut = kind.startswith("power")

        def die() -> Any:
            return self._die(is_power_cut=is_power_cut)

        def strike() -> None:
            if f"operation {self._disk.operations}" == at:
                die()

        self._disk.strike = strike
        world.on_crash = die
        world.crash_at = int(at.removeprefix("step ")) if at.startswith("step ") else 0
        violation: list[Violation] = []
        with replaced(world, str(self._folder)):
            feed_slice, feed._SLICE = feed._SLICE, self._scenario.slice  # noqa: SLF001
            try:
                run_in_world(world, lambda: self._main(world, is_calm=is_calm))
            except Ended:
                pass
            except Violation as found:
                violation.append(found)
            finally:
                feed._SLICE = feed_slice  # noqa: SLF001
        self._now, self._points = world.now + 1.0, self._points + world.points
        self._story += [(self._life, *entry) for entry in world.log]
        if world.failure is not None:
            violation.append(Violation(str(world.failure)))
        if violation:
            raise violation[0]
        if self._wreck is not None:
            self._crashes += 1
            self._disk.load(self._wreck)

    def _die(self, *, is_power_cut: bool) -> Any:
        """The process ends here and now."""
        disk, world = self._disk, self._world
        actor = world.actor()
        place = f" before {actor.place}" if actor else ""
        self._note(f"the {'power goes' if is_power_cut else 'process is killed'}{place}")
        self._death = disk.written(f"{BATCH}/journal.log")
        self._wreck = disk.cut_power(self._choices, self._note) if is_power_cut else disk.kill()
        world.stop()

    async def _main(self, world: World, *, is_calm: bool) -> None:
        plan = None if is_calm else fault_plan(self._choices)
        for rule in plan.rules if plan else ():
            self._note(f"a fault is planned: {rule.kind.value} at {rule.point.value}")
        processor = self._processor(plan)
        is_there = processor.checkpoint_manager.folder(BATCH).has_batch
        if not is_there and self._promised >= 0:
            raise Violation(f"commit {self._promised} was promised, and there is no batch")
        if not is_calm:
            self._let_others_act(processor)
        self._note(f"the engine {'resumes' if is_there else 'begins'} the batch")
        sources = [self._docs.root] * (2 if self._scenario.has_duplicates else 1)
        try:
            report = await self._run(processor, sources, is_there=is_there)
        except Lesson15Error as error:
            if plan is None or not isinstance(error, _SAID):
                raise Violation(f"the run ends with {type(error).__name__}: {error}") from error
            self._note(f"the run ends with {type(error).__name__}")
        except Exception as error:
            raise Violation(f"the run ends with {type(error).__name__}: {error}") from error
        else:
            self._check_report(report, may_be_cancelled=not is_calm)
            if is_calm and report["failed_docs"] + report["skipped_docs"]:
                await self._processor(None).retry_failed(BATCH)

    async def _run(
        self, processor: BatchProcessor, sources: list[Path], *, is_there: bool
    ) -> dict[str, Any]:
        try:
            return await processor.process_batch(sources, BATCH, resume=is_there)
        except SourcesMissingError:
            self._note("so many documents are gone that the engine asks, and is told to drop them")
            return await processor.process_batch(sources, BATCH, resume=True, prune=True)

    def _processor(self, plan: Any) -> BatchProcessor:
        scenario = self._scenario
        steps = self.steps
        if steps is None:
            steps = [tidy] if scenario.has_step else []
        processor = BatchProcessor(
            scenario.max_concurrent,
            scenario.interval,
            state_dir=self._state,
            embedder=self.make_embedder(scenario.threads),
            store="faiss",
            settings=self._settings,
            fs=self._disk,
            steps=steps,
            faults=plan,
        )
        processor.writer_callbacks.append(self._check_recovered)
        processor.listeners.append(self._listen)
        self._started, self._struck, self._unacknowledged = set(), set(), 0
        return processor

    def _note(self, text: str) -> None:
        self._world.note(text)

    # --- others -------------------------------------------------------------------------------

    def _let_others_act(self, processor: BatchProcessor) -> None:
        """Threads that pause, go on, cancel and look while the engine works."""
        acts_by_name = {
            "pause": (self._pause, "operator"), "cancel": (self._cancel, "operator"),
            "look": (self._look, "reader"), "rival": (self._rival, "rival"),
        }  # fmt: skip
        acts = [
            self._choices.decide("act", lambda draw: draw.choice(list(acts_by_name)), "")
            for _ in range(self._choices.number("acts", 0, 2))
        ]
        for act in filter(None, acts):
            wait = self._choices.decide("wait", _draw_wait, 0.05)
            work, name = acts_by_name[act]
            threading.Thread(target=work, args=(processor, wait), name=name).start()

    def _pause(self, processor: BatchProcessor, wait: float) -> None:
        time.sleep(wait)
        self._world.act("pauses the batch")
        processor.pause()
        time.sleep(self._choices.decide("length of a pause", _draw_wait, 0.01))
        self._world.act("lets the batch go on")
        processor.unpause()

    def _cancel(self, processor: BatchProcessor, wait: float) -> None:
        time.sleep(wait)
        self._world.act("cancels the batch")
        processor.cancel()

    def _rival(self, processor: BatchProcessor, wait: float) -> None:
        """Another process that wants the batch, which it must not get before the lock is free."""
        time.sleep(wait)
        folder = processor.checkpoint_manager.folder(BATCH)
        if not folder.has_batch:
            return
        try:
            with batch_lock(folder):
                if BATCH in processor.active_batches:
                    self._fail("another process gets the lock of the batch while it is worked on")
        except BatchLockedError:
            self._world.act("finds the batch locked")

    def _look(self, processor: BatchProcessor, wait: float) -> None:
        """Read the batch while it is worked on: it must be as of one commit."""
        time.sleep(wait)
        manager = processor.checkpoint_manager
        if not manager.folder(BATCH).has_batch:
            return
        least = self._promised
        try:
            batch = manager.open(BATCH)
            state = batch.state
        except Lesson15Error as error:
            self._fail(f"a reader beside the engine gets {type(error).__name__}: {error}")
        seen = state.processed_docs, state.failed_docs, state.skipped_docs, state.chunks
        journal = self._disk.written(f"{BATCH}/journal.log")
        if seen not in (found := self._counts_of_commits(journal, least, batch.cipher)):
            self._fail(f"a reader sees the counts {seen}; those of commits are {found}")
        with suppress(CatalogError), closing(Catalog.snapshot(manager.open(BATCH))) as catalog:
            position = catalog.position
            if position.offset > manager.open(BATCH).commit.journal_bytes:
                self._fail("a reader sees in the catalogue what is not committed")
        self._world.act(f"sees {seen[0]} documents done")

    def _counts_of_commits(
        self, journal: bytes, least: int, cipher: Cipher | None
    ) -> list[tuple[int, ...]]:
        copy = self._folder / "journal.copy"
        copy.write_bytes(journal[: journal.rfind(b"\n") + 1])
        state, number, counts = BatchState(BATCH), 0, [(0, 0, 0, 0)] if least <= 0 else []
        with suppress(StorageError):  # a torn tail
            for _, event in read_journal(copy, cipher=cipher):
                found = oracle.counts_of([event], state)
                if isinstance(event, Committed):
                    number += 1
                    if number >= least:
                        counts.append(found)
        return counts

    # --- promises -----------------------------------------------------------------------------

    def _fail(self, text: str) -> Any:
        """Put a broken promise on record where an exception would be caught, and end the world."""
        if self._world.failure is None:
            self._world.failure = Violation(text)
        self._world.stop()

    def _listen(self, event: Event) -> None:
        """What the engine tells, on the event loop; it would only log an exception."""
        try:
            self._hear(event)
        except Exception as error:  # noqa: BLE001 - a bug of the simulation
            self._fail(f"{type(error).__name__}: {error}")

    def _hear(self, event: Event) -> None:
        scenario = self._scenario
        self._world.progress()
        match event:
            case Committed():
                self._promised = event.number
                self._unacknowledged = 0
                self._note(f"commit {event.number} is promised")
            case DocStarted():
                if event.doc_id in self._started:
                    self._fail(f"{event.doc_id} is handed out twice in one run")
                self._started.add(event.doc_id)
            case FaultInjected():
                self._struck.add(event.doc_id or "")
                self._note(f"a fault strikes: {event.fault} at {event.point} ({event.doc_id})")
            case DocSettled():
                self._check_verdict(event)
                self._unacknowledged += 1
                self._note(f"{event.doc_id} is {event.status.value}")
                if self._unacknowledged > 2 * scenario.interval:
                    self._fail(f"{self._unacknowledged} documents wait for a commit")
            case Paused() | Unpaused() | DocRemoved() | AttemptFailed() | LimitChanged():
                self._note(_EVENTS[type(event)].format(event))

    def _check_verdict(self, event: DocSettled) -> None:
        """A verdict is on the very bytes of the file, and a failure has a reason."""
        path = self._folder / event.doc_id
        if event.status is DocStatus.DONE:
            if path.exists() and event.sha256 != sha256(path.read_bytes()).hexdigest():
                self._fail(f"{event.doc_id} is done with the content of another document")
        elif (
            event.doc_id not in self._struck
            and path.suffix != ".json"
            and event.error_type not in _WITHOUT_FAULT
        ):
            self._fail(f"{event.doc_id} has failed without a reason: {event.error}")

    def _check_recovered(self, writer: Writer) -> None:
        """Check that exactly one commit was recovered, none before the last promised one."""
        files = writer.files
        number, position = files.committed.number, files.committed.position
        if number < self._promised:
            raise Violation(f"commit {self._promised} was promised, and {number} is recovered")
        self._note(f"commit {number} is recovered")
        self._promised = number
        journal = files.folder.journal.read_bytes()
        if len(journal) != position.offset:
            raise Violation("the journal's tail is not cut")
        if self._death is not None and not self._death.startswith(journal):
            raise Violation("the journal is not what was written before the crash")
        self._death = None
        events = oracle.events_of(files.folder.journal, files.cipher)
        if number and not (isinstance(events[-1], Committed) and events[-1].number == number):
            raise Violation(f"the journal does not end with commit {number}")
        counts = oracle.counts_of(events, BatchState(BATCH))
        state = files.state
        if counts != (state.processed_docs, state.failed_docs, state.skipped_docs, state.chunks):
            raise Violation(f"the checkpoint does not have the counts of its journal, {counts}")
        found = {row.doc_id: (row.status, row.chunks) for row in writer.catalog.scan()}
        live = oracle.live_documents(events)
        if found != {name: (event.status, event.chunks) for name, event in live.items()}:
            raise Violation("the catalogue differs from the journal")

    def _check_report(self, report: dict[str, Any], *, may_be_cancelled: bool) -> None:
        """A run that says it has finished has a verdict on every document that was there."""
        status = report["status"]
        self._note(f"the run is {status}")
        if status == BatchStatus.CANCELLED and may_be_cancelled:
            return
        if status != BatchStatus.FINISHED:
            raise Violation(f"the run ends as {status}")
        settled = report["processed_docs"] + report["failed_docs"] + report["skipped_docs"]
        there = len(list(self._docs.root.iterdir()))
        if settled != there:
            raise Violation(f"the run has finished with {settled} of {there} documents")
        stored = CheckpointManager(self._state, keyring=self._keys).open(BATCH).state
        if (stored.status, stored.processed_docs) != (status, report["processed_docs"]):
            raise Violation(f"the run is {status}, and its checkpoint says {stored.status}")

    def _judge(self) -> None:
        """The end: nothing lost, nothing twice, everything in agreement."""
        expected = oracle.sequential(self._docs.root, self._folder, self.make_embedder(1))
        batch = CheckpointManager(self._state, keyring=self._keys).open(BATCH)
        oracle.check_journal(oracle.events_of(batch.folder.journal, batch.cipher))
        oracle.check_whole(batch, expected)


def _draw_crash(generator: Random) -> str:
    """What ends the process, and before which operation of the disk or step of anybody."""
    if generator.random() < 0.3:
        return ""
    kind = generator.choice(["power cut", "power cut", "kill"])
    if generator.random() < 0.6:
        return f"{kind} before operation {generator.randint(1, 70)}"
    return f"{kind} before step {int(10.0 ** generator.uniform(1, 3.5))}"


def _draw_wait(generator: Random) -> float:
    return round(10.0 ** generator.uniform(-2.5, 0.7), 4)
