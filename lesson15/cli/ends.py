"""How the process ends: when nobody can read what it prints, and at the second Ctrl-C."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from lesson15.errors import (
    BatchKeyError,
    CorruptCheckpointError,
    InvalidKeyError,
    Lesson15Error,
    OtherModelError,
    OutputError,
    RepairError,
    SchemaTooNewError,
    StateReadError,
    SystemRefusedError,
)

_NO_READER = 128 + signal.SIGPIPE
"""What shells show for a program that is ended by a closed pipe."""


class _Stream:
    """A standard stream that is told apart from the files of a batch when it refuses."""

    def __init__(self, stream: Any, *, is_needed: bool) -> None:
        self._stream = stream
        self._is_needed = is_needed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except OSError as error:
            self._fail(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Drop what is left; raise, unless what is printed there only explains."""
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        if not self._is_needed:
            return
        if isinstance(error, BrokenPipeError):
            raise SystemExit(_NO_READER) from error
        raise OutputError(detail=error) from error


@contextmanager
def sound_streams() -> Iterator[None]:
    """Let nothing go wrong by a standard stream that is closed, full, or not read any more.

    A refusal of stdout raises OutputError, or ends the process with 141 if nobody reads it any
    more; what stderr refuses is dropped.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # else a file of ours would get it
        pass
    os.close(descriptor)
    before = sys.stdout, sys.stderr
    out, err = (
        stream if stream is not None else os.fdopen(number, "w", closefd=False)
        for number, stream in enumerate(before, 1)
    )
    for stream in (out, err):  # the encoding of the terminal may lack a character of a document
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout = _Stream(out, is_needed=True)
    sys.stderr = _Stream(err, is_needed=False)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    finally:
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def quit_now(number: int, _frame: FrameType | None) -> NoReturn:
    """End the process at once, as a handler of a signal; the last checkpoint stays."""
    os._exit(128 + number)


def named(error: Lesson15Error | OSError) -> Lesson15Error:
    """``error``, or what is said of one that the system raised where nothing else expects it."""
    return error if isinstance(error, Lesson15Error) else SystemRefusedError(detail=error)


def how_to_go_on(
    error: Lesson15Error, batch_id: str, state_dir: object, options: str = ""
) -> str | None:
    """The command that goes on after ``error``, None where no command does.

    ``options`` are those that a resume needs.
    """
    if isinstance(error, SchemaTooNewError | RepairError | OtherModelError):
        return None  # the last one says what there is to choose from
    if isinstance(error, CorruptCheckpointError):
        return f"lesson15 repair {batch_id} --state-dir {state_dir}"
    return f"lesson15 resume {batch_id} --state-dir {state_dir}{options}"


def shown_status(error: Lesson15Error) -> str:
    """What a listing shows of a batch that cannot be opened because of ``error``."""
    if isinstance(error, BatchKeyError | InvalidKeyError):
        return "encrypted"
    if isinstance(error, SchemaTooNewError):
        return "newer"
    return "unreadable" if isinstance(error, StateReadError) else "damaged"
