"""What a universe is made of, apart from who runs when: documents, settings, trouble."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
from pydantic import SecretStr

from lesson15.embedding.base import Vectors
from lesson15.embedding.hashing import HashingEmbedder
from lesson15.faults import FaultPlan
from lesson15.faults.plan import FaultRule
from lesson15.faults.points import FaultKind, FaultPoint
from lesson15.models import Chunk
from lesson15.settings import Settings
from lesson15.simulation.choices import Choices
from lesson15.simulation.primitives import present_world
from lesson15.simulation.world import EPOCH, Chances

DIMENSIONS = 8
_KEY = "bGVzc29uMTUgbGVzc29uMTUgbGVzc29uMTUgbGVzc28="
_CHANCES = {
    "calm": Chances(0.0, 0.0),
    "rare": Chances(0.02, 0.004),
    "often": Chances(0.15, 0.01),
    "always": Chances(0.6, 0.02),
    "slow": Chances(0.05, 0.05),
    "fine": Chances(0.03, 0.003, fine=True),
}
_TROUBLE: list[tuple[FaultPoint, FaultKind]] = [
    (FaultPoint.READ, FaultKind.FILE_NOT_FOUND),
    (FaultPoint.PARSE, FaultKind.KILL),
    (FaultPoint.PARSE, FaultKind.HANG),
    (FaultPoint.PARSE, FaultKind.DELAY),
    (FaultPoint.PARSE, FaultKind.OUT_OF_MEMORY),
    (FaultPoint.EMBED, FaultKind.NETWORK_TIMEOUT),
    (FaultPoint.EMBED, FaultKind.RATE_LIMITED),
    (FaultPoint.EMBED, FaultKind.UNAVAILABLE),
    (FaultPoint.EMBED, FaultKind.SLOW_NETWORK),
    (FaultPoint.EMBED, FaultKind.PARTIAL_ANSWER),
    (FaultPoint.EMBED, FaultKind.HANG),
    (FaultPoint.RESULT, FaultKind.NETWORK_TIMEOUT),
    (FaultPoint.RESULT, FaultKind.OUT_OF_MEMORY),
    (FaultPoint.RESULT, FaultKind.KILL),
    (FaultPoint.CHECKPOINT_WRITE, FaultKind.DISK_FULL),
    (FaultPoint.CHECKPOINT_WRITE, FaultKind.TORN_WRITE),
    (FaultPoint.CHECKPOINT_WRITE, FaultKind.KILL),
    (FaultPoint.FSYNC, FaultKind.SYSTEM_ERROR),
    (FaultPoint.RENAME, FaultKind.SYSTEM_ERROR),
    (FaultPoint.RENAME, FaultKind.KILL),
    (FaultPoint.INDEX, FaultKind.SYSTEM_ERROR),
]


@dataclass(frozen=True, slots=True)
class Scenario:
    """The settings of a universe; few documents and small numbers, so that borders are met often.

    ``lives`` is how often the engine is started before the last, calm time.
    """

    documents: int
    lives: int
    max_concurrent: int
    interval: int
    parsers: int
    batch_chunks: int
    threads: int
    slice: int
    parse_timeout: int
    has_duplicates: bool
    has_step: bool
    is_encrypted: bool

    @classmethod
    def of(cls, choices: Choices) -> Scenario:
        """That of the seed; the usual numbers are the smallest."""
        number, happens = choices.number, choices.happens
        return cls(
            documents=number("documents", 1, 10),
            lives=number("lives", 1, 3),
            max_concurrent=number("workers", 1, 5),
            interval=choices.decide("interval", lambda draw: draw.choice([1, 1, 2, 4]), 1),
            parsers=number("parsers", 1, 3),
            batch_chunks=number("chunks in a call", 1, 6),
            threads=number("threads of the embedder", 1, 3),
            slice=number("slice of the feed", 1, 5),
            parse_timeout=choices.decide("patience", lambda draw: draw.choice([3, 20]), 20),
            has_duplicates=happens("source named twice", 0.3),
            has_step=happens("a step", 0.3),
            is_encrypted=happens("encrypted", 0.15),
        )


def chances_of(choices: Choices) -> Chances:
    """How a life treats its actors."""
    weather = choices.decide("weather", lambda draw: draw.choice(list(_CHANCES)), "calm")
    low_memory = choices.decide("tight memory", lambda draw: draw.choice([0.0, 0.0, 0.05]), 0.0)
    return replace(_CHANCES[weather], low_memory=low_memory)


def slowness_of(choices: Choices) -> float:
    """How long the disk takes for a flush in a life, at most, in seconds."""
    return choices.decide("slow disk", lambda draw: draw.choice([0.0, 0.1, 3.0]), 0.0)


def fault_plan(choices: Choices) -> FaultPlan | None:
    """The faults of a life, None for none."""
    rules = []
    for _ in range(choices.number("faults", -2, 2)):
        at = choices.decide("fault", lambda draw: draw.randrange(1, len(_TROUBLE)), 0)
        point, kind = _TROUBLE[at]
        nth = choices.decide("which call", lambda draw: int(30 ** draw.random()), 1)
        rules.append(FaultRule(point=point, kind=kind, nth=nth, seconds=2.0))
    return FaultPlan(seed=choices.seed & 0xFFFF, rules=tuple(rules)) if rules else None


def settings_of(scenario: Scenario) -> Settings:
    """The engine's settings in a universe, whatever the environment says."""
    global _defaults  # reading the environment takes longer than a small batch
    if _defaults is None:
        _defaults = Settings.model_construct()
    return _defaults.model_copy(
        update={
            "retry_delay": 0.5, "parse_timeout": scenario.parse_timeout, "embed_timeout": 60.0,
            "step_timeout": 60.0, "parser_processes": scenario.parsers,
            "embed_batch_chunks": scenario.batch_chunks, "outage_patience": 120.0,
            "max_retry_after": 5.0, "breaker_failures": 2,
            "encryption_key": SecretStr(_KEY) if scenario.is_encrypted else None,
        }
    )  # fmt: skip


_defaults: Settings | None = None


class Documents:
    """The files of a universe; they have the times of its clock."""

    def __init__(self, root: Path, choices: Choices, count: int) -> None:
        self.root = root
        self._choices = choices
        self._version = 0
        root.mkdir(parents=True)
        for number in range(count):
            self._write(number)

    def _write(self, number: int) -> None:
        """A document of one chunk or several; now and then one that cannot be read."""
        self._version += 1
        kind = self._choices.decide(
            f"document {number}", lambda draw: draw.choice(["text", "text", "long", "bad"]), "text"
        )
        text = f"Document {number}, in version {self._version}, is about {number * 37}. "
        name = f"d{number}.txt"
        if kind == "bad":
            name, text = f"d{number}.json", '{"a": [1, }'
        elif kind == "long":
            text *= 40
        for stale in self.root.glob(f"d{number}.*"):
            stale.unlink()
        path = self.root / name
        path.write_text(text, encoding="utf-8")
        seconds = int(EPOCH) - 1000 + self._version
        os.utime(path, (seconds, seconds))

    def change(self, count: int) -> list[str]:
        """Let somebody edit, add and remove some; what was done, in words."""
        done = []
        for _ in range(self._choices.number("changes", 0, 2)):
            number = self._choices.decide("changed document", lambda draw: draw.randrange(count), 0)
            kind = self._choices.decide(
                "kind of change", lambda draw: draw.choice(["edit", "add", "remove"]), "edit"
            )
            if kind == "add":
                number += count
            if kind == "remove" and len(list(self.root.iterdir())) > 2:
                for path in self.root.glob(f"d{number}.*"):
                    path.unlink()
                    done.append(f"somebody removes {path.name}")
            else:
                self._write(number)
                done.append(f"somebody writes document {number}")
        return done


class SlowEmbedder(HashingEmbedder):
    """The hashing embedder, in ``threads`` threads, each call of which takes its time."""

    def __init__(self, threads: int = 1) -> None:
        super().__init__(DIMENSIONS)
        self.threads = threads
        world = present_world()
        self._longest = 0.0
        if world is not None:
            self._longest = world.choices.decide(
                "slow model", lambda draw: draw.choice([0.001, 0.001, 0.1, 1.0]), 0.001
            )

    def embed(self, texts: Sequence[str]) -> Vectors:
        """As the hashing embedder's."""
        world = present_world()
        if world is not None:
            world.progress()
            world.point("computing vectors")
            world.sleep(self._longest * world.choices.decide("time of a call", _draw_share, 1.0))
        vectors = super().embed(texts)
        assert np.isfinite(vectors).all()  # noqa: S101 - a bug of this embedder is none of the engine
        return vectors


def _draw_share(generator: Random) -> float:
    return float(round(10.0 ** generator.uniform(-2, 0), 4))


def tidy(chunks: Sequence[Chunk]) -> list[Chunk]:
    """A step that takes its time and changes nothing."""
    world = present_world()
    if world is not None:
        world.point("a step")
        world.sleep(0.01)
    return list(chunks)
