"""One universe: the engine lives, is killed, lives again on what is left, and is judged.

A life is one run of the engine in a world of its own. It ends by itself, by a cancellation, by a
fault, or because the power goes or the process is killed at a moment that the seed picks. The next
life resumes on the disk that is left. The last one is calm: then the batch must be what comes of
the files one after the other.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from fcntl import LOCK_EX, flock
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.engine import feed
from lesson15.engine.processor import BatchProcessor
from lesson15.errors import (
    BatchLockedError,
    EmbeddingModelError,
    Lesson15Error,
    SourcesMissingError,
    StorageError,
)
from lesson15.faults import FaultPlan
from lesson15.simulation import oracle
from lesson15.simulation.choices import Choices, Value
from lesson15.simulation.company import Company
from lesson15.simulation.disk import SimulatedDisk, Wreck
from lesson15.simulation.loop import run_in_world
from lesson15.simulation.oracle import Violation
from lesson15.simulation.patches import replaced
from lesson15.simulation.promises import Promises
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
_PATIENCE_SECONDS = 60.0
"""Real time in which whoever runs has to come to a point where others may go on."""
_SAID = (StorageError, EmbeddingModelError)
"""How a run may end when the system or the model is made to fail."""


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
    make_embedder: Callable[[int], Any] = SlowEmbedder,
    steps: Sequence[Any] | None = None,
) -> Outcome:
    """Run the universe of ``seed``, or that of ``choices`` if they are given.

    Args:
        seed: picks documents, settings, schedule, crashes and faults.
        choices: the decisions of an earlier :class:`Outcome`, or some of them.
        make_embedder: makes the embedder of each life, given how many threads it is to stand.
        steps: steps that chunks go through, as :class:`BatchProcessor` takes them.

    Raises:
        RuntimeError: a universe runs in this process already.
    """
    outcome: list[Outcome | BaseException] = []
    universes: list[Universe] = []

    def target() -> None:
        try:
            _stay_on_one_processor()
            with _folder(seed) as folder:
                universes.append(
                    Universe(
                        folder, Choices(seed, choices), make_embedder, steps,
                    )
                )  # fmt: skip
                outcome.append(universes[0].run())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            outcome.append(error)

    # In a thread of its own: the caller may have an event loop, a tracer or a context.
    thread = threading.Thread(target=target, name="lesson15-universe")
    thread.start()
    before = -1
    while thread.is_alive():
        thread.join(_PATIENCE_SECONDS)
        if universes and thread.is_alive():
            if universes[0].points == before:
                universes[0].interrupt()
            before = universes[0].points
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _stay_on_one_processor() -> None:
    """Keep the calling thread, and those that it starts, on one: handing over is twice as fast."""
    if hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[os.getpid() % len(processors)]})


@contextmanager
def _folder(seed: int) -> Iterator[Path]:
    """A folder in memory whose name depends on ``seed`` alone, as names of files are on record."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder in it is this user's alone
    place = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    place = place / f"lesson15-universes-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    root, lock = place / str(seed), place / f"{seed}.lock"
    with ExitStack() as stack:
        while True:  # another process may have removed the file that this one waited for
            file = stack.enter_context(lock.open("w"))
            flock(file, LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                    break
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        try:
            yield root
        finally:
            shutil.rmtree(root, ignore_errors=True)
            lock.unlink()


class Universe:
    """The lives of one batch in ``folder``; the rest as of :func:`run_universe`."""

    def __init__(
        self,
        folder: Path,
        choices: Choices,
        make_embedder: Callable[[int], Any] = SlowEmbedder,
        steps: Sequence[Any] | None = None,
    ) -> None:
        self._folder = folder
        self._choices = choices
        self._make_embedder = make_embedder
        self._state_dir = folder / "state"
        self._scenario = scenario = Scenario.of(choices)
        self._settings = settings_of(scenario)
        self._keys = Keyring.of(self._settings)
        self._steps = ([tidy] if scenario.has_step else []) if steps is None else steps
        self._docs = Documents(folder / "docs", choices, scenario.documents)
        self._promises = Promises(folder, self._state_dir, BATCH, self._keys, scenario.interval)
        self._world = World.nowhere()
        self._disk = SimulatedDisk(self._state_dir, self._world)
        self._disk.on_commit = self._promises.note_durable
        self._wreck: Wreck | None = None
        self._story: list[tuple[int, float, str, str]] = []
        self._now = 0.0
        self._life = self._points = self._crashes = 0

    def run(self) -> Outcome:
        """Live, and judge."""
        violation = None
        self._state_dir.mkdir()
        try:
            for _ in range(self._scenario.lives):
                self._live(is_calm=False)
                for text in self._docs.change(self._scenario.documents):
                    self._story.append((self._life, self._now, "", text))
            self._live(is_calm=True)
            self._judge()
        except Violation as found:
            violation = str(found)
        journal = self._state_dir / BATCH / "journal.log"
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

    @property
    def points(self) -> int:
        """How often somebody could have gone on so far."""
        return self._points + self._world.points

    def interrupt(self) -> None:
        """End a life in which nothing goes on for real; call it from outside."""
        self._world.interrupt()

    # --- a life -------------------------------------------------------------------------------

    def _live(self, *, is_calm: bool) -> None:
        """One life, to its end; raises Violation."""
        self._life += 1
        choices, disk = self._choices, self._disk
        choices.era = f"life {self._life}: "
        chances = Chances(0.0, 0.0) if is_calm else chances_of(choices)
        world = self._world = World(choices, chances)
        world.now, world.pid = self._now, 4000 + 100 * self._life
        world.on_kill = lambda: self._die(is_power_cut=False)
        self._promises.begin(world)
        disk.begin(world, 0.0 if is_calm else slowness_of(choices))
        self._wreck = None
        if not is_calm:
            self._plan_crash(choices.decide("crash", _draw_crash, ""))
        with replaced(world, str(self._folder)):
            usual, feed._SLICE = feed._SLICE, self._scenario.slice
            try:
                with suppress(Ended):
                    run_in_world(world, lambda: self._main(is_calm=is_calm))
            except Violation as found:
                world.failure = world.failure or found
            finally:
                feed._SLICE = usual
                self._now, self._points = world.now + 1.0, self._points + world.points
                self._story += [(self._life, *entry) for entry in world.log]
        if world.failure is not None:
            raise Violation(str(world.failure)) from world.failure
        if self._wreck is not None:
            self._crashes += 1
            disk.load(self._wreck)

    def _plan_crash(self, plan: str) -> None:
        """Let the process end as ``plan`` says, such as "power cut before operation 17"."""
        kind, _, moment = plan.partition(" before ")
        what, _, number = moment.partition(" ")
        count = int(number or 0)

        def look(place: str) -> None:
            nonlocal count
            is_one = what == "step" or place.startswith(
                "the catalogue's" if what == "statement" else "the disk's"
            )
            count -= is_one
            if is_one and not count:
                self._die(is_power_cut=kind == "power cut")

        self._world.before = look if plan else None

    def _die(self, *, is_power_cut: bool) -> NoReturn:
        """The process ends here and now."""
        disk, world = self._disk, self._world
        actor = world.actor()
        place = f" before {actor.place}" if actor else ""
        world.note(f"the {'power goes' if is_power_cut else 'process is killed'}{place}")
        self._promises.death = disk.written(f"{BATCH}/journal.log")
        self._wreck = disk.cut_power(self._choices, world.note) if is_power_cut else disk.kill()
        world.stop()

    async def _main(self, *, is_calm: bool) -> None:
        world, promises = self._world, self._promises
        plan = None if is_calm else fault_plan(self._choices)
        for rule in plan.rules if plan else ():
            world.note(f"a fault is planned: {rule.kind.value} at {rule.point.value}")
        processor = self._processor(plan)
        is_there = processor.checkpoint_manager.folder(BATCH).has_batch
        if not is_there and promises.promised >= 0:
            raise Violation(f"commit {promises.promised} was promised, and there is no batch")
        company = Company(world, self._choices, processor, promises, self._disk, BATCH)
        if not is_calm:
            company.begin()
        world.note(f"the engine {'resumes' if is_there else 'begins'} the batch")
        try:
            report = await self._process(processor, is_there=is_there)
        except Violation:
            raise
        except Exception as error:
            is_locked_out = isinstance(error, BatchLockedError) and company.has_rival
            if not is_locked_out and (plan is None or not isinstance(error, _SAID)):
                raise Violation(f"the run ends with {type(error).__name__}: {error}") from error
            world.note(f"the run ends with {type(error).__name__}")
            return
        there = len(list(self._docs.root.iterdir()))
        promises.check_report(report, there, may_be_cancelled=not is_calm)
        if is_calm and report["failed_docs"] + report["skipped_docs"]:
            await self._processor(None).retry_failed(BATCH)

    async def _process(self, processor: BatchProcessor, *, is_there: bool) -> dict[str, Any]:
        sources = [self._docs.root] * (2 if self._scenario.has_duplicates else 1)
        try:
            return await processor.process_batch(sources, BATCH, resume=is_there)
        except SourcesMissingError:
            self._world.note("so many documents are gone that the engine asks; it is told to go on")
            return await processor.process_batch(sources, BATCH, resume=True, prune=True)

    def _processor(self, plan: FaultPlan | None) -> BatchProcessor:
        scenario = self._scenario
        processor = BatchProcessor(
            scenario.max_concurrent,
            scenario.interval,
            state_dir=self._state_dir,
            embedder=self._make_embedder(scenario.threads),
            store="faiss",
            settings=self._settings,
            fs=self._disk,
            steps=self._steps,
            faults=plan,
        )
        self._promises.watch(processor)
        return processor

    def _judge(self) -> None:
        """The end: nothing lost, nothing twice, everything in agreement."""
        expected = oracle.sequential(self._docs.root, self._folder, self._make_embedder(1))
        try:
            batch = CheckpointManager(self._state_dir, keyring=self._keys).open(BATCH)
            oracle.check_journal(oracle.events_of(batch.folder.journal, batch.cipher))
            oracle.check_whole(batch, expected)
        except Lesson15Error as error:
            raise Violation(f"the batch cannot be read: {error}") from error


def _draw_crash(generator: Random) -> str:
    """What ends the process, and before which operation of the disk, statement of the catalogue, or
    step of anybody.
    """
    if generator.random() < 0.3:
        return ""
    kind = generator.choice(["power cut", "power cut", "kill"])
    what = generator.choice(["operation", "operation", "statement", "step"])
    most = {"operation": 70.0, "statement": 100.0, "step": 3000.0}[what]
    return f"{kind} before {what} {int(most ** generator.random())}"
