"""Loaders that do what no loader should, and two that tell what they see."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from typing import Any

from lesson15.documents.parsed import LoadedDocument, Section
from lesson15_test_plugins import stuck


def hang(path: str, data: bytes, options: Any) -> Any:
    stuck.hang()


def crash(path: str, data: bytes, options: Any) -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(path: str, data: bytes, options: Any) -> Any:
    os._exit(7)


def eat(path: str, data: bytes, options: Any) -> Any:
    return bytearray(64 * 1024**3)


def chat(path: str, data: bytes, options: Any) -> Any:
    print("what a chatty parser prints", flush=True)
    return LoadedDocument([Section(data.decode())])


def stumble(path: str, data: bytes, options: Any) -> Any:
    raise ZeroDivisionError("a bug")


def tell_environment(path: str, data: bytes, options: Any) -> Any:
    return LoadedDocument([Section(" ".join(sorted(os.environ)))])


def tell_modules(path: str, data: bytes, options: Any) -> Any:
    return LoadedDocument([Section(" ".join(sorted(sys.modules)))])


def make_string(path: str, data: bytes, options: Any) -> Any:
    return data.decode()


def make_bad_meta(path: str, data: bytes, options: Any) -> Any:
    return LoadedDocument([Section(data.decode(), meta={"read_at": datetime.now(UTC)})])
