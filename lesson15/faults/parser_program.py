"""The program of the parser processes of a run with faults.

It is that of :mod:`lesson15.documents.parser_process`, and its requests may carry faults that
strike before a part of the work, so that timeouts and isolation are put to the proof by what they
are for: a process that really hangs, dies or gets no more memory.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, NoReturn

from lesson15.documents.parsed import ParsedDocument, ParseOptions
from lesson15.documents.parser_process import serve
from lesson15.documents.parsing import parse_document


class ParserFault(NamedTuple):
    """One fault: what it precedes ("read" or "parse"), its kind and, of a delay, the seconds."""

    point: str
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


def parse(path: str, options: ParseOptions, order: dict[str, Any]) -> ParsedDocument:
    """As :func:`parse_document`; the faults in ``order`` strike on the way."""
    faults = [ParserFault(*fault) for fault in order.get("faults", ())]
    return parse_document(path, options, partial(_strike, faults))


def _strike(faults: Iterable[ParserFault], point: str) -> None:
    """Carry out the ``faults`` at ``point``; raises what a document in that trouble raises."""
    for fault in faults:
        if fault.point == point:
            _EFFECTS[fault.kind](fault.seconds)


if __name__ == "__main__":
    serve(parse)
