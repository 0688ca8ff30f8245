"""Options that say what a batch is made of."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from lesson15.documents.loaders import supported_types
from lesson15.documents.scan import check_paths, read_list, scan
from lesson15.errors import NoDocumentsError, UsageError
from lesson15.models import ScanRules

_STANDARD_INPUT = "-"
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Take only files of folders that match; may be repeated."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Leave out files and folders that match; may be repeated."),
]
Gitignore = Annotated[
    bool, typer.Option("--gitignore/--no-gitignore", help="Leave out what git ignores.")
]
FilesFrom = Annotated[
    str | None,
    typer.Option(metavar="FILE|-", help="File with a list of further paths; - is standard input."),
]
NullSeparated = Annotated[
    bool, typer.Option("-0", "--null", help="Paths of --files-from end with NUL, not newline.")
]


def rules_of(
    include: list[str] | None,
    exclude: list[str] | None,
    gitignore: bool,  # noqa: FBT001, RUF100 - internal
    files_from: str | None,
    null_separated: bool,  # noqa: FBT001, RUF100 - internal
) -> ScanRules:
    """The rules that the options amount to.

    Raises:
        UsageError: they do not go together.
    """
    if null_separated and files_from is None:
        raise UsageError(problem="-0 needs --files-from: it says how that list is separated.")
    return ScanRules(
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        gitignore=gitignore,
        files_from=files_from,
        null_separated=null_separated,
    )


def check_sources(paths: list[str] | None, rules: ScanRules) -> list[str]:
    """The paths of a new batch, once it is sure that there is something to do.

    Raises:
        UsageError: there is not: a path or the list is missing, or there are no documents.
    """
    paths = paths or []
    name = rules.files_from
    if not paths and name is None:
        raise UsageError(problem="Missing argument: name files or folders, or a list of them with "
                         "--files-from.")  # fmt: skip
    check_paths(paths)
    if name == _STANDARD_INPUT:  # which can be read only once
        if not paths and not _has_input():
            raise NoDocumentsError(paths="the list on standard input", types=supported_types())
        return paths
    listed = [] if name is None else read_list(name, null_separated=rules.null_separated)
    if next(scan(paths, rules), None) is None and next(scan(listed, rules), None) is None:
        names = ", ".join([*paths, *([] if name is None else [name])])
        if rules.include or rules.exclude or rules.gitignore:
            names += " that --include, --exclude and --gitignore leave"
        raise NoDocumentsError(paths=names, types=supported_types())
    return paths


def list_again(files_from: str, null_separated: bool) -> Iterator[str]:  # noqa: FBT001, RUF100 - internal
    """The paths of a list that a batch is to go on with.

    Raises:
        PathNotFoundError: there is no such list.
    """
    if files_from != _STANDARD_INPUT:
        check_paths([Path(files_from)])
    return read_list(files_from, null_separated=null_separated)


def _has_input() -> bool:
    """Whether standard input has anything to read; waits for it, and leaves it there."""
    if sys.stdin is None:  # it is closed
        return False
    standard_input = sys.stdin.buffer
    return not isinstance(standard_input, io.BufferedReader) or bool(standard_input.peek(1).strip())
