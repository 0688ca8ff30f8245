"""The states of a batch, as whoever drives it sees them, and what can be done in each."""

from __future__ import annotations

from enum import StrEnum


class Command(StrEnum):
    """What can be asked for; the names are those of the methods of a session."""

    START = "start"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    RESUME = "resume"
    RETRY_FAILED = "retry_failed"
    CANCEL = "cancel"
    KILL = "kill"


class State(StrEnum):
    """Where a batch stands, in the words of the REST interface and of the notebooks."""

    NEW = "new"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    KILLED = "killed"  # its process died
    INTERRUPTED = "interrupted"  # its last run did not end by itself, and nobody works on it
    BUSY = "busy"  # somebody else works on it

    @property
    def is_active(self) -> bool:
        """Whether it is in work, waits for it or is paused, so that it can be cancelled."""
        return Command.CANCEL in ALLOWED[self]


_AT_WORK = frozenset({Command.PAUSE, Command.CANCEL, Command.KILL})
_AT_REST = frozenset({Command.RESUME, Command.RETRY_FAILED})
ALLOWED: dict[State, frozenset[Command]] = {
    **dict.fromkeys(State, _AT_REST),
    State.NEW: frozenset({Command.START}),
    State.QUEUED: frozenset({Command.PAUSE, Command.CANCEL}),
    State.STARTING: _AT_WORK,
    State.RUNNING: _AT_WORK,
    State.PAUSED: frozenset({Command.UNPAUSE, Command.RESUME, Command.CANCEL, Command.KILL}),
}
"""What can be done in each state. To resume a paused batch is to unpause it."""


def offered(state: State, *, has_failures: bool) -> list[Command]:
    """The commands for the buttons of a user interface: no two that do the same, none in vain."""
    in_vain = {Command.RESUME} if state is State.PAUSED else set()
    if not has_failures:
        in_vain.add(Command.RETRY_FAILED)
    return [command for command in Command if command in ALLOWED[state] - in_vain]
