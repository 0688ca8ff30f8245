"""Print the route of one .txt document: the functions of lesson15 that its batch calls.

    python tools/hops.py            # each function in the order of its first call
    python tools/hops.py --files    # each file, with the number of its functions on the route
    python tools/hops.py --json     # the same for machines
    python tools/hops.py --check ARCHITECTURE.md    # exit 1 if it does not name each of the files

A folder with one small document becomes a new batch, embedded by hashing, by ``lesson15.run`` or,
with ``--cli``, by the command ``lesson15 run``, in this process, which has done nothing before.

Counted are the distinct functions written with ``def`` in a file of the package lesson15, methods,
properties, coroutines and nested functions among them, that this process calls in any of its
threads from the call of the entry point to its return. Not counted:

- the bodies of modules and classes, and what they call while a module is being imported;
- lambdas, comprehensions and generator expressions;
- methods that no source has, such as the ``__init__`` of a dataclass;
- other packages, and the parser, which is a process of its own.
"""

from __future__ import annotations

import argparse
import inspect
import io
import json
import os
import re
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = str(ROOT / "lesson15") + os.sep
TEXT = "A checkpoint says how much of the journal counts.\n"
BATCH = "route"


class Function(NamedTuple):
    """A function on the route; ``file`` is relative to the repository."""

    file: str
    line: int
    name: str


class Route:
    """The functions of lesson15 that are called while :meth:`follow` runs its action."""

    def __init__(self) -> None:
        self.functions: list[Function] = []
        self._seen: set[CodeType] = set()
        self._is_followed = False

    def follow(self, action: Callable[[], object]) -> None:
        """Run ``action``, and note what is called in this thread and in those that it starts."""
        self._is_followed = True
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        try:
            action()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            self._is_followed = False  # threads that outlive the action

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event != "call" or not self._is_followed or code in self._seen:
            return
        if not code.co_filename.startswith(PACKAGE) or not _is_function(code):
            return
        if _is_importing(frame):
            return
        self._seen.add(code)
        file = Path(code.co_filename).relative_to(ROOT).as_posix()
        self.functions.append(Function(file, code.co_firstlineno, code.co_qualname))


def _is_function(code: CodeType) -> bool:
    """Whether ``code`` was written with ``def``; class bodies and modules have no new locals."""
    return bool(code.co_flags & inspect.CO_NEWLOCALS) and not code.co_name.startswith("<")


def _is_importing(frame: FrameType) -> bool:
    """Whether ``frame`` was called, at some remove, by the body of a module of lesson15."""
    caller = frame.f_back
    while caller is not None:
        code = caller.f_code
        if code.co_name == "<module>" and code.co_filename.startswith(PACKAGE):
            return True
        caller = caller.f_back
    return False


def run_by_function(docs: Path, state: Path, route: Route) -> None:
    """Follow ``lesson15.run``."""
    import lesson15

    run, report = lesson15.run, {}  # importing it is not on the route

    def action() -> None:
        report.update(run([docs], BATCH, state_dir=state, embedder="hashing"))

    route.follow(action)
    if report["processed_docs"] != 1:
        sys.exit(f"the document was not processed: {report}")


def run_by_command(docs: Path, state: Path, route: Route) -> None:
    """Follow ``lesson15 run``, as if on no terminal."""
    from lesson15.cli import main

    options = ["--batch-id", BATCH, "--state-dir", str(state), "--embedder", "hashing"]
    sys.argv = ["lesson15", "run", str(docs), *options]
    said = io.StringIO()
    code: object = None
    with redirect_stdout(said), redirect_stderr(said):
        try:
            route.follow(main)
        except SystemExit as end:
            code = end.code
    if code not in (None, 0):
        sys.exit(f"the document was not processed; exit code {code}:\n{said.getvalue()}")


def find_route(follow_run: Callable[[Path, Path, Route], None]) -> list[Function]:
    """The route of one document through a batch that ``follow_run`` runs."""
    for name in [name for name in os.environ if name.startswith("LESSON15_")]:
        del os.environ[name]  # settings of the user would be other routes
    sys.path.insert(0, str(ROOT))
    route = Route()
    with tempfile.TemporaryDirectory() as folder:
        docs = Path(folder, "docs")
        docs.mkdir()
        (docs / "note.txt").write_text(TEXT, encoding="utf-8")
        follow_run(docs, Path(folder, "state"), route)
    if not route.functions:
        sys.exit(f"lesson15 was not imported from {PACKAGE}: is there another one on the path?")
    return route.functions


def unnamed(files: list[str], document: str) -> list[str]:
    """The ``files`` whose path does not stand in ``document``."""
    return [
        file for file in files if not re.search(rf"(?<![\w-]){re.escape(file)}(?!\w)", document)
    ]


def main() -> None:
    """Print the route as the command line asks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cli", action="store_true", help="follow the command `lesson15 run`")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--files", action="store_true", help="files with counts only")
    shape.add_argument("--json", action="store_true", help="one JSON object")
    shape.add_argument("--check", metavar="FILE.md", type=Path, help="must name each file")
    arguments = parser.parse_args()
    document = ""
    if arguments.check:
        try:
            document = arguments.check.read_text(encoding="utf-8")
        except OSError as error:
            parser.error(f"--check: {error}")

    functions = find_route(run_by_command if arguments.cli else run_by_function)
    entry = "lesson15 run" if arguments.cli else "lesson15.run"
    files = Counter(function.file for function in functions)  # in the order of the first call
    summary = f"{entry}: {len(functions)} functions in {len(files)} files"
    if arguments.json:
        answer: dict[str, Any] = {
            "entry": entry,
            "functions": [function._asdict() for function in functions],
            "files": files,
        }
        print(json.dumps(answer, indent=2))
    elif arguments.check:
        if missing := unnamed(list(files), document):
            lines = "\n".join(f"  {file}" for file in missing)
            sys.exit(f"{arguments.check} does not name these files on the route:\n{lines}")
        print(f"{summary}, each named in {arguments.check}")
    elif arguments.files:
        for file, count in files.items():
            print(f"{count:4}  {file}")
        print(summary)
    else:
        for number, (file, line, name) in enumerate(functions, 1):
            print(f"{number:4}  {file}:{line}  {name}")
        print(summary)


if __name__ == "__main__":
    main()
