"""Finding documents: files as they are given, folders walked in a fixed order, all streaming."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

from lesson15.documents.loaders import loaders
from lesson15.errors import PathNotFoundError


def check_paths(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Check that every path exists.

    Raises:
        PathNotFoundError: one does not.
    """
    for path in paths:
        if not os.path.lexists(path):
            raise PathNotFoundError(path=os.fspath(path), cwd=Path.cwd())


def is_inside(real_path: str, root: str) -> bool:
    """Whether ``real_path`` is the folder ``root`` or lies in it; both without links."""
    return real_path == root or real_path.startswith(root.rstrip(os.sep) + os.sep)


def scan(paths: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """Yield the documents under ``paths``.

    A folder is walked recursively, sorted within each folder, for files of the supported types;
    hidden entries and links to folders are passed over. Anything else is yielded as it is: a
    missing file, an unknown type or a folder that cannot be listed then fails by name, on its own.
    """
    known = loaders().keys()
    for path in paths:
        text = os.fspath(path)
        if os.path.isdir(text):  # noqa: PTH112 - paths are strings here
            yield from _walk(text, known)
        else:
            yield text


def _walk(folder: str, known: Set[str]) -> Iterator[str]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, known)
        elif os.path.splitext(entry.name)[1].lower() in known and not entry.is_dir():  # noqa: PTH122
            yield entry.path
