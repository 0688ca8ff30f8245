"""Code that may hang, crash or spoil its process, in a process of its own that can be killed.

The child is forked, so that functions of a notebook need no import and no pickling; only messages
come back.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

Messages = Callable[[], Iterator[Any]]


class HangError(Exception):
    """Nothing came from the child for longer than it may take."""


class DiedError(Exception):
    """The child ended before it had said all."""


def can_fork() -> bool:
    """Whether this system has processes that can be forked."""
    return hasattr(os, "fork")


def in_child(messages: Messages, seconds: float) -> Iterator[Any]:
    """What ``messages`` gives, made by a child; at most ``seconds`` pass from one to the next.

    Raises:
        HangError: it took longer, and the child was killed.
        DiedError: the child is dead.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # It runs no threads of the parent's.
        pid = os.fork()
    if pid == 0:
        receiver.close()
        _speak(messages, sender)
    sender.close()
    try:
        while True:
            if not receiver.poll(seconds):
                raise HangError
            message = receiver.recv()
            if message is None:
                return
            yield message
    except (EOFError, ConnectionError):
        raise DiedError from None
    finally:
        receiver.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _speak(messages: Messages, sender: Connection) -> None:
    """Send each message, and end the process."""
    try:
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()  # A notebook's belong to the parent.
        for message in messages():
            sender.send(message)
        sender.send(None)
    except BaseException:  # noqa: BLE001 - a fault of this module's own, which must be seen
        with contextlib.suppress(OSError):
            os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(0)
