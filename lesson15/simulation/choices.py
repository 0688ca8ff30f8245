"""The decisions that make a universe: drawn from its seed, or given one by one.

Each decision belongs to a named stream and has a number in it. Its usual value (go on, no fault,
nothing lost) is not remembered; the others are, and they are all that it takes to make the universe
again. So a universe is shrunk by taking decisions away: what is left of them keeps its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import TypeVar, cast

Value = int | float | str
T = TypeVar("T", bound=Value)


class Choices:
    """Makes the decisions of one universe.

    Args:
        seed: what they are drawn from.
        given: decisions by "stream number", instead of drawing them; all others are as usual.

    Attributes:
        made: the unusual decisions, in the order in which they were made.
        era: goes before the name of each stream: what is taken away in one era changes no number in
            another.
    """

    def __init__(self, seed: int, given: Mapping[str, Value] | None = None) -> None:
        self.seed = seed
        self.made: dict[str, Value] = {}
        self.era = ""
        self._given = given
        self._counts: Counter[str] = Counter()
        self._generators: dict[str, Random] = {}

    def decide(self, stream: str, draw: Callable[[Random], T], usual: T) -> T:
        """The next decision of ``stream``: what ``draw`` makes of its generator, or ``usual``."""
        stream = f"{self.era}{stream}"
        self._counts[stream] += 1
        number = self._counts[stream]
        if self._given is None:
            generator = self._generators.get(stream)
            if generator is None:
                generator = self._generators[stream] = self.generator(stream)
            value = draw(generator)
            if value == usual:
                return usual
            key = f"{stream} {number}"
        else:
            key = f"{stream} {number}"
            found = self._given.get(key, usual)
            if found == usual:
                return usual
            value = cast(T, found)  # of the type that was drawn once
        self.made[key] = value
        return value

    def number(self, stream: str, low: int, high: int) -> int:
        """A whole number from ``low``, which is usual, to ``high``."""
        return self.decide(stream, lambda generator: generator.randint(low, high), low)

    def happens(self, stream: str, probability: float) -> bool:
        """Whether something unusual happens."""
        return bool(self.decide(stream, lambda generator: int(generator.random() < probability), 0))

    def generator(self, purpose: str) -> Random:
        """A generator of its own for ``purpose``, the same for the same seed."""
        return Random(f"{self.seed}/{purpose}")  # noqa: S311 - to be repeated, not to be secret
