"""From a universe that breaks a promise to the smallest one that breaks it too.

Delta debugging (Zeller and Hildebrandt, 2002) over the unusual decisions: halves, quarters and so
on are taken away for as long as the same promise is broken. Then numbers are made smaller, and
lives are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from lesson15.simulation.choices import Value
from lesson15.simulation.universe import Outcome

_DETAIL = re.compile(r"[^\s:]*[\d/][^\s:]*")
_LIFE = re.compile(r"^life (\d+):")
_LIVES = "lives 1"
_MOST_RUNS = 400
Run = Callable[[int, Mapping[str, Value]], Outcome]


def kind_of(violation: str) -> str:
    """What was broken, without the names and numbers."""
    return _DETAIL.sub("*", violation)[:60]


def shrink(outcome: Outcome, run: Run, most_runs: int = _MOST_RUNS) -> Outcome:
    """The smallest universe found that breaks the same promise as ``outcome``.

    Args:
        outcome: of a universe that broke one.
        run: runs a universe, given its seed and decisions, under the same circumstances.
        most_runs: how many are tried, at most.
    """
    if outcome.violation is None:
        return outcome
    search = _Search(outcome, run, most_runs)
    while search.take_away() | search.lower() | search.live_less():
        pass
    return search.best


class _Search:
    def __init__(self, outcome: Outcome, run: Run, most_runs: int) -> None:
        self.best = outcome
        self._run = run
        self._left = most_runs
        self._kind = kind_of(outcome.violation or "")

    def _breaks(self, choices: Mapping[str, Value]) -> bool:
        """Whether the same promise is broken with ``choices``; then they are the best so far."""
        if self._left <= 0:
            return False
        self._left -= 1
        found = self._run(self.best.seed, choices)
        if found.violation is None or kind_of(found.violation) != self._kind:
            return False
        if len(found.choices) > len(self.best.choices):
            return False
        self.best = found
        return True

    def take_away(self) -> bool:
        """Take decisions away; whether that made the universe smaller."""
        before, size = len(self.best.choices), max(1, len(self.best.choices) // 2)
        while True:
            start = 0
            while start < len(self.best.choices):
                keys = list(self.best.choices)
                gone = set(keys[start : start + size])
                kept = {key: value for key, value in self.best.choices.items() if key not in gone}
                if not self._breaks(kept):
                    start += size
            if size == 1:
                return len(self.best.choices) < before
            size //= 2

    def live_less(self) -> bool:
        """Leave lives out; whether one could be."""
        lives = int(self.best.choices.get(_LIVES, 1))
        for gone in range(1, lives):

            def earlier(found: re.Match[str], gone: int = gone) -> str:
                number = int(found[1])
                return f"life {number - (number > gone)}:"

            kept = {
                _LIFE.sub(earlier, key): value
                for key, value in self.best.choices.items()
                if not key.startswith(f"life {gone}:")
            }
            if self._breaks({**kept, _LIVES: lives - 1}):
                return True
        return False

    def lower(self) -> bool:
        """Make whole numbers smaller; whether one could be."""
        has_changed = False
        for key, value in list(self.best.choices.items()):
            if isinstance(value, int) and value > 1 and key in self.best.choices:
                for less in (value // 2, value - 1):
                    if less and self._breaks({**self.best.choices, key: less}):
                        has_changed = True
                        break
        return has_changed
