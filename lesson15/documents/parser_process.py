"""The parser process: reads paths from a pipe, parses, writes replies; a crash stays in here.

A message is a 4-byte big-endian length and JSON. Never pickle: this process handles documents that
nobody vouches for, and its parent must be able to read the replies without trusting them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

import orjson

from lesson15.documents.parsed import ParsedDocument, ParseOptions
from lesson15.documents.parsing import parse_document
from lesson15.errors import Lesson15Error
from lesson15.errors.base import as_utf8

LENGTH = struct.Struct(">I")
Parse = Callable[[str, ParseOptions, dict[str, Any]], ParsedDocument]
"""Parses the file at a path; the last argument is the whole request."""
_PR_SET_PDEATHSIG = 1


class Requests(Protocol):
    """What requests are read from."""

    def read(self, size: int, /) -> bytes:
        """``size`` bytes, fewer only at the end."""
        ...


class Replies(Protocol):
    """What replies are written to."""

    def write(self, data: bytes, /) -> int:
        """Take ``data``."""
        ...

    def flush(self) -> None:
        """Let the reader have it."""
        ...


def parse(path: str, options: ParseOptions, _order: dict[str, Any]) -> ParsedDocument:
    """As :func:`parse_document`, whatever else the request says."""
    return parse_document(path, options)


def serve(parse: Parse) -> None:
    """Serve until the pipe closes. Arguments: parent's pid, memory limit, options as JSON."""
    parent, memory_bytes, options = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    _limit_memory(memory_bytes)
    requests, replies = sys.stdin.buffer, _claim_stdout()
    work_off(parse, ParseOptions(**orjson.loads(options)), requests, replies)


def work_off(parse: Parse, options: ParseOptions, requests: Requests, replies: Replies) -> None:
    """Answer ``requests`` until that pipe is closed."""
    while header := requests.read(LENGTH.size):
        request = orjson.loads(requests.read(*LENGTH.unpack(header)))
        reply = orjson.dumps(_answer(parse, options, request))
        replies.write(LENGTH.pack(len(reply)) + reply)
        replies.flush()


def _answer(parse: Parse, options: ParseOptions, request: dict[str, Any]) -> dict[str, Any]:
    try:
        parsed = parse(os.fsdecode(bytes.fromhex(request["path"])), options, request)
    except Lesson15Error as error:
        fields = {name: value if isinstance(value, int) else as_utf8(str(value))
                  for name, value in error.fields.items() if name != "path"}  # fmt: skip
        return {"error": type(error).__name__, "fields": fields}
    except MemoryError:  # so little is left that the named error could not be made
        return {"error": "OutOfMemoryError", "fields": {"detail": "while parsing"}}
    return {
        "chunks": [[chunk.text, chunk.meta] for chunk in parsed.chunks],
        "sha256": parsed.sha256,
        "fingerprint": list(parsed.fingerprint),
    }


def _claim_stdout() -> BinaryIO:
    """Keep the pipe for replies, and send what parsers print to stderr."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")


def _die_with(parent: int) -> None:
    """Ask the kernel to end this process with its parent, even while a parser hangs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)


def _limit_memory(limit: int) -> None:
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS refuses this limit
        _, hard = resource.getrlimit(resource.RLIMIT_AS)  # `ulimit -v`: it cannot be raised
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    serve(parse)
