"""A pool of parser processes: a document that hangs, crashes or eats memory harms only itself.

Own subprocesses rather than multiprocessing, whose spawn imports the caller's main module again,
which breaks scripts without a main guard, and whose fork is unsafe beside torch's threads.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import orjson

from lesson15 import errors
from lesson15.children import cause_of_end, child_environment
from lesson15.documents.checking import fault_of_meta
from lesson15.documents.parsed import Fingerprint, ParsedDocument, ParseOptions
from lesson15.documents.parser_process import LENGTH
from lesson15.errors import (
    DocumentError,
    DocumentNotFoundError,
    Lesson15Error,
    OutOfMemoryError,
    ParserCrashedError,
    ParseTimeoutError,
)
from lesson15.models import Chunk

_SECRETS = {"LESSON15_ENCRYPTION_KEY", "LESSON15_ENCRYPTION_KEY_FILE"}


PROGRAM = "lesson15.documents.parser_process"
"""The module that a parser process runs."""


class ParserPool:
    """Up to ``processes`` parser processes, started when they are needed.

    Args:
        processes: how many documents may be parsed at once.
        options: how documents are read.
        timeout: seconds that one document may take, from when a process begins with it.
        memory_bytes: address space of one process.
        program: the module that the processes run, one that calls
            :func:`lesson15.documents.parser_process.serve`.
    """

    def __init__(
        self,
        processes: int,
        options: ParseOptions,
        timeout: float = 60.0,
        memory_bytes: int = 2 * 1024**3,
        program: str = PROGRAM,
    ) -> None:
        self._free = asyncio.Semaphore(processes)
        self._idle: list[Process] = []
        self._all: set[Process] = set()
        self._timeout = timeout
        self._arguments = [
            # -P: a struct.py in the working directory is none of the child's business.
            "-P", "-m", program,
            str(os.getpid()), str(memory_bytes), orjson.dumps(asdict(options)).decode(),
        ]  # fmt: skip

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def parse(self, path: str, order: Mapping[str, Any] | None = None) -> ParsedDocument:
        """The chunks of the file at ``path``.

        ``order`` is what else the request says, in JSON values, to a ``program`` that heeds it.

        Raises:
            ParseTimeoutError: it took too long, and its process was killed.
            ParserCrashedError: its process died.
            DocumentError, DocumentNotFoundError, OutOfMemoryError: as the parser said.
        """
        async with self._free:
            process = await self._take()
            try:
                async with asyncio.timeout(self._timeout):
                    reply = await self._ask(process, path, order or {})
            except TimeoutError:
                await self._stop(process)
                raise ParseTimeoutError(path=path, seconds=self._timeout) from None
            except (asyncio.IncompleteReadError, ConnectionError):
                detail = cause_of_end(await self._stop(process))
                raise ParserCrashedError(path=path, detail=detail) from None
            except BaseException:  # cancelled: a late reply must not reach the next caller
                await asyncio.shield(self._stop(process))
                raise
            self._idle.append(process)
        return _result(reply, path)

    async def _take(self) -> Process:
        """An idle process that lives, or a new one; one that died idle is no document's fault."""
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
            self._all.discard(process)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._arguments,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            # A process that reads what nobody vouches for has no business with the keys.
            env=child_environment(without=_SECRETS),
        )
        self._all.add(process)
        return process

    @staticmethod
    async def _ask(process: Process, path: str, order: Mapping[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        # The bytes of the path: JSON cannot carry a file name that is not UTF-8.
        request = orjson.dumps({**order, "path": os.fsencode(path).hex()})
        process.stdin.write(LENGTH.pack(len(request)) + request)
        await process.stdin.drain()
        (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        reply: dict[str, Any] = orjson.loads(await process.stdout.readexactly(length))
        return reply

    async def _stop(self, process: Process) -> int:
        """Kill ``process`` and return its exit status: what it died of, if it was dead."""
        if process.returncode is None:
            # A crash may have closed the pipe an instant before the status is known.
            try:
                async with asyncio.timeout(0.2):
                    await process.wait()
            except TimeoutError:
                process.kill()
        self._all.discard(process)
        return await process.wait()

    async def aclose(self) -> None:
        """End every process."""
        for process in self._all:
            if process.returncode is None:
                process.kill()
            if process.stdin is not None:
                process.stdin.close()
        await asyncio.gather(*(process.wait() for process in self._all))
        self._all.clear()
        self._idle.clear()


def _result(reply: dict[str, Any], path: str) -> ParsedDocument:
    if "error" in reply:
        raise _error(reply, path)
    try:  # what comes from there is not to be trusted
        chunks = [Chunk(text, meta) for text, meta in reply["chunks"]]
        if not all(isinstance(each.text, str) and not fault_of_meta(each.meta) for each in chunks):
            raise ValueError("not a list of texts, each with its meta")
        return ParsedDocument(chunks, reply["sha256"], Fingerprint(*reply["fingerprint"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ParserCrashedError(path=path, detail=f"unexpected reply: {error}") from error


def _error(reply: dict[str, Any], path: str) -> Lesson15Error:
    """The error that ``reply`` names, if it is one that a document can cause."""
    kind = getattr(errors, reply["error"], None)
    allowed = (DocumentError, DocumentNotFoundError, OutOfMemoryError)
    if isinstance(kind, type) and issubclass(kind, allowed):
        return kind(**{**reply["fields"], "path": path})
    return ParserCrashedError(path=path, detail=f"unexpected reply {reply['error']!r}")
