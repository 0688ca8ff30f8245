"""Checks of what callers hand over: a value of the wrong type is named at once, and not later."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lesson15.errors import UsageError

MOST_CONCURRENT = 10_000
MOST_CHUNK_CHARS = 10_000_000
MOST_INTERVAL = MOST_HITS = 2**31 - 1


def path_text(path: object, what: str = "a path") -> str:
    """``path`` as text.

    Raises:
        UsageError: it is neither str nor os.PathLike of str.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str):
        raise _no_path(path, what)
    if not text.isascii():
        try:
            os.fsencode(text)
        except UnicodeEncodeError as error:
            raise UsageError(
                problem=f"{text!r} is not {what}: it has a character at {error.start} that no file "
                "name can have."
            ) from error
    return text


def _no_path(path: object, what: str) -> UsageError:
    hint = " (os.fsdecode makes text of bytes)" if isinstance(path, bytes) else ""
    kind = type(path).__name__
    return UsageError(problem=f"{path!r} is not {what}: give str or os.PathLike, not {kind}{hint}.")


def state_path(path: object) -> Path:
    """``path`` as the folder of all batches' state; raises UsageError if it is none."""
    text = path_text(path, "a state folder")
    if "\0" in text:
        raise UsageError(problem=f"{text!r} is not a state folder: it has a NUL character in it.")
    return Path(text)


def document_paths(paths: object) -> Iterable[str | os.PathLike[str]]:
    """``paths`` as an iterable of paths; a single path is one of itself.

    Those of a list or tuple are checked now, those of a stream when they come.

    Raises:
        UsageError: it is none.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    if not isinstance(paths, Iterable) or isinstance(paths, bytes | bytearray | memoryview):
        raise _no_path(paths, "a path, nor an iterable of paths")
    if isinstance(paths, list | tuple):
        for path in paths:
            path_text(path)
    return paths


def max_concurrent(value: object) -> int:
    """``value`` as a number of documents in work at once; raises UsageError."""
    return _whole_number("max_concurrent", value, MOST_CONCURRENT)


def checkpoint_interval(value: object) -> int:
    """``value`` as a number of documents between two checkpoints; raises UsageError."""
    return _whole_number("checkpoint_interval", value, MOST_INTERVAL)


def number_of_hits(value: object) -> int:
    """``value`` as how many hits a search is to give; raises UsageError."""
    return _whole_number("k", value, MOST_HITS)


def text(what: str, value: object) -> str:
    """``value``, which is ``what``; raises UsageError if it is no text that UTF-8 can encode."""
    if not isinstance(value, str):
        raise UsageError(problem=f"{what} must be text, not {type(value).__name__}: {value!r}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            problem=f"{what} has a lone surrogate at {error.start}, which is no character: "
            f"{value!r}."
        ) from error
    return value


def _whole_number(name: str, value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        kind = type(value).__name__
        raise UsageError(problem=f"{name}={value!r} is not a whole number but {kind}.")
    if not 1 <= value <= most:
        size = "small" if value < 1 else "large"
        raise UsageError(problem=f"{name}={value} is too {size}: give 1 to {most}.")
    return value
