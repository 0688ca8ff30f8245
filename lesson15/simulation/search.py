"""Many universes, one after the other, until one breaks a promise."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from lesson15.errors import UsageError
from lesson15.simulation.choices import Value
from lesson15.simulation.shrink import shrink
from lesson15.simulation.universe import Outcome, run_universe

SEED_VARIABLE = "LESSON15_UNIVERSE_SEED"


@dataclass
class Progress:
    """What was run so far; ``virtual_seconds`` are those of the universes."""

    universes: int = 0
    crashes: int = 0
    points: int = 0
    virtual_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Universes per second."""
        return self.universes / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Found:
    """A universe that breaks a promise, as its seed made it and as small as could be found."""

    first: Outcome
    smallest: Outcome


def search(
    seeds: Iterable[int],
    *,
    shrinks: bool = True,
    progress: Progress | None = None,
    tell: Callable[[Progress], object] = lambda _progress: None,
    **options: Any,
) -> Found | None:
    """Run the universes of ``seeds`` until one breaks a promise; None if none does.

    Args:
        seeds: which.
        shrinks: look for the smallest universe that breaks the same promise.
        progress: is kept up.
        tell: is called with it after each universe.
        options: as :func:`run_universe` takes them.
    """
    progress = progress or Progress()
    began = time.monotonic()
    for seed in seeds:
        outcome = run_universe(seed, **options)
        progress.universes += 1
        progress.crashes += outcome.crashes
        progress.points += outcome.points
        progress.virtual_seconds += outcome.seconds
        progress.seconds = time.monotonic() - began
        tell(progress)
        if outcome.violation is not None:
            run: Callable[[int, Mapping[str, Value]], Outcome] = partial(run_universe, **options)
            return Found(outcome, shrink(outcome, run) if shrinks else outcome)
    return None


def first_seed() -> int:
    """The seed to begin with: LESSON15_UNIVERSE_SEED, or one that each day has for itself.

    Raises:
        UsageError: the variable is no number.
    """
    given = os.environ.get(SEED_VARIABLE)
    if given is None:
        return int(f"{datetime.now(UTC):%Y%m%d}") * 10_000
    try:
        return int(given)
    except ValueError:
        raise UsageError(problem=f"{SEED_VARIABLE}={given!r} is no whole number.") from None
