"""Finding documents: files as they are given, folders walked in a fixed order, all streaming."""

from __future__ import annotations

import codecs
import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lesson15.arguments import path_text
from lesson15.documents.loaders import loaders
from lesson15.errors import PathNotFoundError, UsageError
from lesson15.models import ScanRules

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_NEVER = frozenset({"node_modules", "__pycache__"})
_LOCK_FILE = "~$"
_MOST_SUFFIXES = 100
_OTHER_SUFFIXES = "other"
_PART = 1 << 16  # characters of a list read at once


def check_paths(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Check that every path exists, or may do so: what cannot be seen fails by name later.

    Raises:
        PathNotFoundError: one does not.
    """
    for path in paths:
        if is_absent(path):
            raise PathNotFoundError(path=os.fspath(path), cwd=Path.cwd())


def is_absent(path: str | os.PathLike[str]) -> bool:
    """Whether the system says that there is no ``path``, not even a link.

    ``os.path.lexists`` takes for absent what cannot be seen, too.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a NUL byte is in no name
        return True
    except OSError:
        return False
    return False


def is_inside(real_path: str, root: str) -> bool:
    """Whether ``real_path`` is the folder ``root`` or lies in it; both without links."""
    return real_path == root or real_path.startswith(root.rstrip(os.sep) + os.sep)


def scan(paths: Iterable[str | os.PathLike[str]], rules: ScanRules | None = None) -> Iterator[str]:
    """Yield the documents under ``paths``, as :class:`Scan` does."""
    return iter(Scan(paths, rules))


class Scan:
    """The documents under ``paths``, found as they are iterated over.

    A folder is walked recursively, sorted within each folder, for files of the supported types that
    ``rules`` take; links to folders are passed over. Anything else is yielded as it is: a missing
    file, an unknown type or a folder that cannot be listed then fails by name, on its own, and so
    does a link or an entry that the system refuses to look at.

    Attributes:
        unsupported: how many files of folders were passed over so far, by suffix ("" for none).
        unlisted: what may be a folder, was yielded as it is, and hides what lies in it.

    Raises:
        UsageError: a pattern of ``rules`` is no pattern.
    """

    def __init__(
        self, paths: Iterable[str | os.PathLike[str]], rules: ScanRules | None = None
    ) -> None:
        rules = rules or ScanRules()
        self._paths = paths
        self._known = loaders().keys()
        self._include = _patterns("--include", rules.include)
        self._exclude = _patterns("--exclude", rules.exclude)
        self._obeys_gitignore = rules.gitignore
        self.unsupported: dict[str, int] = {}
        self.unlisted: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        for path in self._paths:
            text = path_text(path)
            try:
                is_folder = stat.S_ISDIR(os.stat(text).st_mode)  # noqa: PTH116 - strings, for speed
            except (FileNotFoundError, NotADirectoryError, ValueError):
                is_folder = False
            except OSError:
                is_folder = False
                self.unlisted.add(text)
            if is_folder:
                yield from self._walk(text)
            else:
                yield text

    def _walk(self, root: str) -> Iterator[str]:
        """The documents below ``root``; open folders are on a stack, however deep they lie."""
        prefix = len(os.path.join(root, ""))  # noqa: PTH118 - strings, for speed
        ignores = Ignores(root) if self._obeys_gitignore else None
        open_folders: list[Iterator[tuple[str, bool]]] = [iter([(root, True)])]
        while open_folders:
            path, is_folder = next(open_folders[-1], ("", False))
            if not path:
                open_folders.pop()
            elif is_folder and (entries := _sorted_entries(path)) is not None:
                if ignores is not None:
                    ignores.enter(path)
                open_folders.append(self._sort_out(entries, prefix, ignores))
            else:
                if is_folder:
                    self.unlisted.add(path)
                yield path

    def _sort_out(
        self, entries: list[os.DirEntry[str]], prefix: int, ignores: Ignores | None
    ) -> Iterator[tuple[str, bool]]:
        """Of the entries of a folder the documents and the folders to walk, and which is which."""
        for entry in entries:
            name, path = entry.name, entry.path
            if name[0] == "." or name in _NEVER or name.startswith(_LOCK_FILE):
                continue
            try:
                is_folder = entry.is_dir(follow_symlinks=False)
            except OSError:  # whatever it is, it must not go unnoticed
                self.unlisted.add(path)
                yield path, False
                continue
            place = path[prefix:] + "/" * is_folder
            if self._exclude is not None and self._exclude.match_file(place):
                continue
            if ignores is not None and ignores.has(path, is_folder=is_folder):
                continue
            if is_folder:
                yield path, True
            elif self._include is not None and not self._include.match_file(place):
                continue
            elif not (entry.is_symlink() and _is_link_to_folder(entry)):
                suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - strings, for speed
                if suffix in self._known:
                    yield path, False
                else:
                    self._count(suffix)

    def _count(self, suffix: str) -> None:
        counts = self.unsupported
        if suffix not in counts and len(counts) >= _MOST_SUFFIXES:
            suffix = _OTHER_SUFFIXES
        counts[suffix] = counts.get(suffix, 0) + 1


class Ignores:
    """What the ``.gitignore`` files from the top of a repository down to the present folder say.

    Args:
        root: the folder that is walked; those above it count up to the one that has a ``.git``.
    """

    def __init__(self, root: str) -> None:
        self._specs: list[tuple[str, GitIgnoreSpec]] = []
        above = Path(os.path.abspath(root)).parents  # noqa: PTH100 - links are left as they are
        if not os.path.lexists(os.path.join(root, ".git")):  # noqa: PTH118 - as above
            for number, folder in enumerate(above):
                if (folder / ".git").exists():
                    for parent in reversed(above[: number + 1]):
                        self.enter(os.fspath(parent))
                    break

    def enter(self, folder: str) -> None:
        """Read the file of ``folder``, if it has one that can be read."""
        try:
            lines = Path(folder, ".gitignore").read_text("utf-8", "surrogateescape").splitlines()
            spec = _patterns(f"{folder}/.gitignore", lines)
        except OSError:
            return
        if spec is not None:
            self._specs.append((os.path.abspath(folder) + os.sep, spec))  # noqa: PTH100 - as above

    def has(self, path: str, *, is_folder: bool) -> bool:
        """Whether ``path`` is left out; the last pattern of the innermost file decides."""
        full = os.path.abspath(path)  # noqa: PTH100 - as above
        while self._specs and not full.startswith(self._specs[-1][0]):
            self._specs.pop()  # of a folder that has been walked
        for folder, spec in reversed(self._specs):
            verdict = spec.check_file(full[len(folder) :] + "/" * is_folder).include
            if verdict is not None:
                return verdict
        return False


def read_list(name: str, *, null_separated: bool) -> Iterator[str]:
    """Yield the paths that the file ``name`` lists, "-" for standard input.

    Lines may end with CR LF, and a byte order mark may come before the first: not in a list that is
    separated by NUL, which holds the names as they are.

    Raises:
        UsageError: it cannot be read.
    """
    separator, end, mark = (b"\0", b"", b"") if null_separated else (b"\n", b"\r", codecs.BOM_UTF8)
    try:
        with ExitStack() as stack:
            if name == "-":
                if sys.stdin is None:
                    raise OSError(errno.EBADF, os.strerror(errno.EBADF))
                file: BinaryIO = sys.stdin.buffer
            else:
                file = stack.enter_context(Path(name).open("rb"))
            for line in _parts(file, separator):
                path = line.removeprefix(mark).removesuffix(end)
                mark = b""
                if path.strip():
                    yield os.fsdecode(path)
    except OSError as error:
        raise UsageError(
            problem=f"The list of paths {name} cannot be read ({error.strerror}). Check the name "
            "that --files-from gives."
        ) from error


def _parts(file: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """What ``separator`` divides ``file`` into, as soon as it is there."""
    rest = b""
    while part := file.read1(_PART):  # type: ignore[attr-defined] # it is buffered
        *parts, rest = (rest + part).split(separator)
        yield from parts
    yield rest


def _patterns(source: str, patterns: Iterable[str]) -> GitIgnoreSpec | None:
    """What matches ``patterns``; None if there is none."""
    patterns = list(patterns)
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec  # for those who use patterns

    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise UsageError(
            problem=f"{source}: this is no pattern ({error}). Write it as in a .gitignore file."
        ) from error


def _sorted_entries(folder: str) -> list[os.DirEntry[str]] | None:
    """The entries of ``folder`` by name; None if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return None


def _is_link_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a loop, or into a folder that one may not enter: it fails by name
        return False
