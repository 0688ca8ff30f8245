"""One try: a command in a storm, what it may say, and what must come of the batch afterwards."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesson15.models import DocStatus
from tests.storms.shim import CALLS, ERRORS, Storm
from tests.storms.world import ALL, QUERIES, Content, World, hits_of
from tests.storms.zygote import Done, Zygote

_WORK = {
    "run": ("none", "none", "done"),
    "resume": ("killed", "done", "changed", "changed", "dead", "damaged", "sealed"),
    "retry-failed": ("dead",),
    "repair": ("damaged", "damaged", "done"),
    "rekey": ("sealed",),
}
_READING = {
    "search": ("done", "changed", "dead", "damaged", "sealed"),
    "verify": ("done", "dead", "killed", "sealed"),
    "failures": ("dead", "done"),
    "status": ("done", "killed"),
    "list": ("done", "killed"),
}
_OFTEN = {"run": 3, "resume": 6, "retry-failed": 2, "repair": 2, "search": 2}
_OF_SOURCES = ("stat", "open", "list", "read")
_NEVER_SAID = (
    "Traceback", "Exception ignored", "Fatal Python error", "Exception in thread",
    "was never retrieved", "never awaited", "During handling of",
)  # fmt: skip


@dataclass(frozen=True)
class Try:
    """What is tried; all of it follows from ``seed``."""

    seed: int
    command: str
    kind: str
    scope: str
    storm: Storm

    @classmethod
    def of(cls, seed: int, world: World) -> Try:
        """The try number ``seed``."""
        draw = random.Random(seed)
        commands = {**_WORK, **_READING}
        command = draw.choices(list(commands), [_OFTEN.get(name, 1) for name in commands])[0]
        kind = draw.choice(commands[command])
        reads_sources = command in ("run", "resume", "retry-failed", "repair")
        scope = draw.choice(("sources", "state", "both")) if reads_sources else "state"
        calls = _OF_SOURCES if scope == "sources" else CALLS
        count = 1 if draw.random() < 0.7 else draw.randint(2, len(calls))
        chosen = tuple(draw.sample(calls, count))
        is_rare = not {"stat", "open", "read", "write"}.intersection(chosen)
        rate = draw.choice((10_000, 10_000, 3000) if is_rare else (10_000, 10_000, 3000, 1000, 300))
        most = 3 if is_rare else 8 if command in _READING else 30  # calls there are, about
        folders = {
            "sources": (world.sources(kind),), "state": (world.state,),
            "both": (world.sources(kind), world.state),
        }  # fmt: skip
        storm = Storm(
            folders[scope],
            chosen,
            draw.choice(list(ERRORS)),
            seed=seed,
            rate=rate,
            is_stuck=rate < 10_000 and draw.random() < 0.4,
            spared=draw.randint(0, most) if rate == 10_000 and draw.random() < 0.8 else 0,
            log=world.folder / "struck",
        )
        return cls(seed, command, kind, scope, storm)

    def arguments(self, world: World) -> list[str]:
        """The command line."""
        at = ["--state-dir", "state", "--json"]
        limits = ["--max-concurrent", "2", "--checkpoint-interval", "2"]
        match self.command:
            case "run":
                name = world.sources(self.kind).name
                return ["run", name, "--batch-id", "b", "--embedder", "hashing", *limits, *at]
            case "search":
                return ["search", QUERIES[0], "-k", str(ALL), "--batch-id", "b", *at]
            case "list":
                return ["list", *at]
            case "resume" | "retry-failed":
                return [self.command, "b", *limits, *at]
            case _:
                return [self.command, "b", *at]


class Judge:
    """Carries ``attempt`` out and notes what is wrong in :attr:`findings`."""

    def __init__(self, attempt: Try, world: World, zygote: Zygote) -> None:
        self._try = attempt
        self._world = world
        self._zygote = zygote
        self.findings: list[str] = []
        self.done: Done | None = None
        self.struck: list[tuple[str, str]] = []

    def judge(self) -> None:
        """Do all of it."""
        attempt, world = self._try, self._world
        world.restore(attempt.kind)
        log = attempt.storm.log
        assert log is not None
        log.unlink(missing_ok=True)
        before = _durable(world.state)
        keys = world.keys(attempt.kind)
        self.done = done = self._zygote(
            *attempt.arguments(world), storm=attempt.storm, environment=keys
        )
        self.struck = attempt.storm.struck()
        self._look_at_words(done)
        if done.returncode == 2 and _durable(world.state) != before:
            self._find("exit code 2, but the batch was changed")
        if attempt.command in _READING:
            self._look_at_answer(done)
        elif done.returncode in (0, 1):
            self._look_at_report(done)
        self._go_on()

    def _find(self, text: str) -> None:
        self.findings.append(text)

    @property
    def _wanted(self) -> Content:
        return self._world.wanted["moving" if self._try.kind == "changed" else "docs"]

    def _look_at_words(self, done: Done) -> None:
        said = done.stdout + done.stderr
        self.findings += [f"said {words!r}" for words in _NEVER_SAID if words in said]
        allowed = {0, 1, 2, 3}
        if self._try.scope == "state" and not self._is_new_over_old:
            allowed -= {2}  # the state is no input
        if self._try.command in ("search", "failures", "status", "list", "rekey"):
            allowed -= {1}
        if done.returncode not in allowed:
            self._find(f"exit code {done.returncode}")
        if done.returncode and not said.strip():
            self._find("nothing was said")

    @property
    def _is_new_over_old(self) -> bool:
        return self._try.command == "run" and self._try.kind != "none"

    def _look_at_answer(self, done: Done) -> None:
        """What is answered with exit code 0 is true."""
        if done.returncode:
            return
        answer, stored = done.json(), self._world.stored[self._try.kind]
        match self._try.command:
            case "search":
                hits = hits_of([(hit["doc_id"], hit["chunk"], hit["score"])
                                for hit in answer["hits"]])  # fmt: skip
                if not answer["damaged"] and hits != stored.hits[0]:
                    self._find(f"searched {hits}, not {stored.hits[0]}")
                if answer["damaged"] and self._try.kind != "damaged":
                    self._find(f"called damaged: {answer['damaged']}")
            case "failures":
                if {each["doc_id"] for each in answer["failures"]} != stored.in_trouble():
                    self._find("the dead-letter list is not the one of the batch")
            case "status":
                if answer["processed_docs"] != len(stored.done()):
                    self._find(f"status: {answer['processed_docs']} documents")
            case "list":
                if [each["batch_id"] for each in answer["batches"]] != ["b"]:
                    self._find(f"listed {answer['batches']}")
                elif answer["batches"][0]["status"] == "damaged":
                    self._find("what cannot be read was called damaged")

    def _look_at_report(self, done: Done) -> None:
        """Of what should be in the batch all is in it, or is named."""
        report = done.json()
        if self._try.command == "repair":
            if done.returncode == 0 and self._world.faults(self._try.kind):
                self._find("repaired, but there are faults")
            return
        if self._try.command == "rekey":
            return
        content, wanted = self._world.content(self._try.kind), self._wanted
        named = {failure["doc_id"] for failure in report["failures"]}
        hidden = report["run"]["hidden"] if report["run"] else 0
        found = content.done()
        if report["processed_docs"] != len(found):
            self._find(f"{report['processed_docs']} documents reported, {len(found)} stored")
        for name, sha in wanted.done().items():
            if found.get(name) == sha or _is_named(name, named) or (name in found and hidden):
                continue
            if self._try.command == "retry-failed":
                continue  # which does not look for new ones
            self._find(f"{name}: neither done nor named")
        if done.returncode == 0 and found != wanted.done():
            self._find("exit code 0, but not all is done")

    def _go_on(self) -> None:
        """When the storm is over, the batch becomes what it would have been without it."""
        attempt, world = self._try, self._world
        if attempt.command in _READING and attempt.kind != "damaged":
            content = world.content(attempt.kind)  # a search, which mends what is derived
            if content != world.stored[attempt.kind] or world.faults(attempt.kind):
                self._find(f"reading changed the batch: {content}, {world.faults(attempt.kind)}")
            return
        keys = world.keys(attempt.kind)
        before = world.stored[attempt.kind].done()
        at = ("--state-dir", "state", "--json")
        is_there = (world.state / "b" / "checkpoint.json").exists()
        if before and not is_there:
            self._find("the batch is lost")
            return
        if is_there and attempt.kind != "damaged":
            kept = world.content(attempt.kind)
            lost = [name for name in before if name in self._wanted.documents
                    and kept.documents.get(name, (None,))[0]
                    not in (DocStatus.DONE, DocStatus.FAILED)]  # fmt: skip
            if lost:
                self._find(f"lost: {lost}")
        if attempt.kind == "damaged":
            self._expect(self._zygote("repair", "b", *at, environment=keys), 0)
        again = Try(attempt.seed, "resume" if is_there else "run", attempt.kind, "", attempt.storm)
        done = self._zygote(*again.arguments(world), environment=keys)
        self._expect(done, 0, 1)
        if done.returncode == 1:
            self._expect(self._zygote("retry-failed", "b", *at, environment=keys), 0)
        if attempt.command == "rekey":
            self._expect(self._zygote("rekey", "b", *at, environment=keys), 0)
        faults = world.faults(attempt.kind)
        if faults:
            self._find(f"afterwards: {faults}")
        content = world.content(attempt.kind)
        if content.documents != self._wanted.documents:
            self._find(f"afterwards the documents are {content.documents}")
        elif content.hits != self._wanted.hits:
            self._find("afterwards searches find something else")

    def _expect(self, done: Done, *codes: int) -> None:
        if done.returncode not in codes:
            self._find(f"afterwards {done.arguments[0]} gave {done.returncode}: {done.stderr}")

    def describe(self) -> dict[str, Any]:
        """All there is to say of the try, for whoever looks for the fault."""
        return {
            "try": self._try, "findings": self.findings, "done": self.done,
            "struck": self.struck[:30],
        }  # fmt: skip


def _is_named(name: str, named: set[str]) -> bool:
    """Whether a document, or a folder that it lies in, is in the list of failures."""
    return name in named or any(str(parent) in named for parent in Path(name).parents)


def _durable(state: Path) -> dict[str, bytes]:
    """The files that nothing can be made anew from."""
    return {
        path.name: path.read_bytes()
        for name in ("checkpoint.json", "manifest.json", "journal.log", "segment.bin")
        for path in state.glob(f"b/{name}")
    }
