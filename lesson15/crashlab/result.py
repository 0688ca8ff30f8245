"""What came of an exploration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lesson15.crashlab.disk import Content
from lesson15.crashlab.inode import Fates
from lesson15.crashlab.recorder import Operation


@dataclass(frozen=True)
class Loser:
    """A disk that loses: where the power went, what it left, and what is wrong with that."""

    lines: int
    """How many lines of the trace had been done."""
    fates: Fates
    """What became of each operation that did not survive whole: its number, and in words."""
    content: Content
    wrong: str
    promised: tuple[str, ...] = ()
    """What had been promised by then, as text."""
    unflushed: frozenset[int] = frozenset()
    """The operations that nothing had made sure to survive."""
    in_recovery: str = ""
    """Where a second power cut struck, if one did, while the first one was recovered from."""

    @property
    def size(self) -> tuple[int, int, int, int, str]:
        """The smaller, the easier to understand."""
        is_torn = sum(how != "lost" for _, how in self.fates)
        return (
            bool(self.in_recovery) + len({number for number, _ in self.fates}),
            is_torn,
            self.lines,
            sum(map(len, self.content.values())),
            repr(sorted(self.content.items())),
        )


@dataclass(repr=False)
class Result:
    """What came of an exploration; print it, or show it in a notebook."""

    kind: str = "strict"
    states: int = 0
    """Crashes looked at: moments times what each may leave."""
    distinct: int = 0
    """Different disks among them; each was recovered once."""
    trace: Sequence[Operation] = ()
    losers: list[Loser] = field(default_factory=list)
    """The disks that lose, the first hundreds of them."""
    lost: int = 0
    """How many disks lose, kept or not."""
    sampled: int = 0
    """At how many moments there were too many disks, so that some were chosen by ``seed``."""
    seed: int = 0
    unseen: Sequence[str] = ()
    """What was done to the disk that could not be traced: then there is no verdict."""
    error: str | None = None
    """What stopped the code under test, without any crash: then there is no verdict, either."""
    printed: str = ""
    """What the code printed, the last of it."""

    @property
    def is_safe(self) -> bool:
        """Whether there is a verdict, and it is that nothing is lost on any disk."""
        return not (self.lost or self.unseen or self.error)

    @property
    def smallest(self) -> Loser | None:
        """The loser that is easiest to understand: of the fewest changes lost, the earliest."""
        return min(self.losers, key=lambda loser: loser.size, default=None)

    @property
    def summary(self) -> str:
        """The verdict in a sentence."""
        if self.error:
            return "No verdict: it fails even without a crash."
        if self.unseen:
            return "No verdict: not everything that it does to the disk is seen."
        if self.lost:
            return f"Not safe: {self.lost} of {self.distinct} disks lose."
        how = f" ({self.sampled} moments had too many disks: some were chosen, by seed {self.seed})"
        all_of = f"{self.distinct} different disks, of {self.states} crashes"
        return f"Safe on all of {all_of}{how if self.sampled else ''}."

    def picture(self) -> str:
        """The smallest disk that loses, as text; the verdict alone if there is none."""
        from lesson15.crashlab.picture import as_text

        return as_text(self)

    def __repr__(self) -> str:
        return self.picture()

    def _repr_html_(self) -> str:
        from lesson15.crashlab.picture import as_html

        return as_html(self)
