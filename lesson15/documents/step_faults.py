"""Trouble on demand inside the parser process, at a step of reading a document.

Requests may carry such faults (see :mod:`lesson15.faults`), so that timeouts and isolation are put
to the proof by what they are for: a process that really hangs, dies or gets no more memory.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, NoReturn


class StepFault(NamedTuple):
    """One fault: the step that it precedes, its kind and, of a delay, the seconds."""

    step: str
    kind: str
    seconds: float


def _hang(_seconds: float) -> NoReturn:
    while True:
        time.sleep(3600)


def _die(_seconds: float) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _eat(_seconds: float) -> None:
    bytearray(sys.maxsize // 2)  # a real refusal, without harm to whoever else needs memory


def _stumble(_seconds: float) -> NoReturn:
    raise ValueError("injected fault")


def _miss(_seconds: float) -> NoReturn:
    raise FileNotFoundError("injected fault")


_EFFECTS: dict[str, Callable[[float], None]] = {
    "delay": time.sleep,
    "hang": _hang,
    "kill": _die,
    "out_of_memory": _eat,
    "parse_error": _stumble,
    "file_not_found": _miss,
}
KINDS = frozenset(_EFFECTS)


def strike(faults: Iterable[StepFault], step: str) -> None:
    """Carry out the ``faults`` of ``step``; raises what a document in that trouble raises."""
    for fault in faults:
        if fault.step == step:
            _EFFECTS[fault.kind](fault.seconds)
