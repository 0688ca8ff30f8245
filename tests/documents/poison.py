"""Loaders that do what no loader should; see the test seam of lesson15.documents.parser_process."""

from __future__ import annotations

import os
import signal
import time
from typing import Any


def hang(path: str, data: bytes, options: Any) -> Any:
    time.sleep(3600)


def crash(path: str, data: bytes, options: Any) -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(path: str, data: bytes, options: Any) -> Any:
    os._exit(7)


def eat(path: str, data: bytes, options: Any) -> Any:
    return bytearray(64 * 1024**3)


def chat(path: str, data: bytes, options: Any) -> Any:
    from lesson15.documents.parsed import LoadedText

    print("what a chatty parser prints", flush=True)
    return LoadedText(data.decode())


def stumble(path: str, data: bytes, options: Any) -> Any:
    raise ZeroDivisionError("a bug")


def tell(path: str, data: bytes, options: Any) -> Any:
    from lesson15.documents.parsed import LoadedText

    return LoadedText(" ".join(sorted(os.environ)))


def register(loaders: dict[str, Any]) -> None:
    loaders.update(
        {".hang": hang, ".crash": crash, ".leave": leave, ".eat": eat, ".chat": chat,
         ".stumble": stumble, ".env": tell}
    )  # fmt: skip
