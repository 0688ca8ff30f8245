"""Exercises of notebook 07: polling, safe paths and server-sent events."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lesson15.course.exercise import Exercise


def _check_poll(mine: Callable[..., Any]) -> str | None:
    def serve(percents: list[float]) -> tuple[Callable[[], dict[str, float]], list[float]]:
        asked: list[float] = []

        def get_status() -> dict[str, float]:
            if len(asked) > 50:
                raise RuntimeError("it asks for ever")
            asked.append(percents[min(len(asked), len(percents) - 1)])
            return {"progress_percent": asked[-1]}

        return get_status, asked

    get_status, asked = serve([0, 40, 99.6, 100])
    naps: list[float] = []
    result = mine(get_status, naps.append, 10)
    if asked != [0, 40, 99.6, 100]:
        return f"It is over at 100 percent; you stopped after {asked}."
    if result != {"progress_percent": 100}:
        return f"Return the last status; you give {result}."
    if len(naps) < 3:
        return "Sleep between two questions: a server is not to be hammered."
    get_status, _asked = serve([50])
    try:
        mine(get_status, naps.append, 5)
    except TimeoutError:
        return None
    except RuntimeError:
        return "A batch that hangs is asked for ever: raise TimeoutError after `tries` questions."
    return "A batch that never ends must raise TimeoutError after `tries` questions."


def _check_inside(mine: Callable[..., Any]) -> str | None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name).resolve()
        root = base / "docs"
        for folder in (root / "sub", base / "docs-secret"):
            folder.mkdir(parents=True)
        (root / "link").symlink_to(base / "docs-secret")
        cases = [
            (root / "a.txt", True, "a file of the root"),
            (root / "sub" / "b.txt", True, "a file further down"),
            (root / "sub" / ".." / "a.txt", True, "a way about that stays inside"),
            (root / ".." / "etc", False, "`..` climbs out of the root"),
            (base / "docs-secret" / "c.txt", False, "docs-secret only begins like docs"),
            (root / "link" / "c.txt", False, "a symbolic link leads out of the root"),
        ]
        for path, wanted, why in cases:
            if bool(mine(str(root), str(path))) is not wanted:
                return f"{path.relative_to(base)} must be {wanted}: {why}."
    return None


def _check_events(mine: Callable[..., Any]) -> str | None:
    lines = [
        ": keep-alive", "", "event: progress", 'data: {"done": 1}', "",
        ": keep-alive", "", 'data: {"done":', "data: 2}", "", 'data: {"done": 3}',
    ]  # fmt: skip
    try:
        found = mine(lines)
    except ValueError as error:
        return f"{error}. Lines of one event belong together: join them, then parse."
    if {"done": 3} in found:
        return "The last event has no blank line after it: it has not come in whole yet."
    if found != [{"done": 1}, {"done": 2}]:
        return f"[{{'done': 1}}, {{'done': 2}}] is wanted, and you give {found}."
    return None


EXERCISES = [
    Exercise(
        question="""
        Write `mine(get_status, sleep, tries)`: ask `get_status()` until its progress_percent is
        100, calling `sleep(seconds)` in between, and return that last status. After `tries`
        questions without success raise TimeoutError.
        """,
        hint="for _ in range(tries): ask, compare with 100, sleep. Raise after the loop.",
        answer="""
        def mine(get_status, sleep, tries):
            for _ in range(tries):
                status = get_status()
                if status["progress_percent"] >= 100:
                    return status
                sleep(0.1)
            raise TimeoutError(f"not done after {tries} questions")
        """,
        check=_check_poll,
        wrong={
            """
            def mine(get_status, sleep, tries):
                while True:
                    status = get_status()
                    if status["progress_percent"] >= 100:
                        return status
                    sleep(0.1)
            """: "for ever",
            """
            def mine(get_status, sleep, tries):
                for _ in range(tries):
                    status = get_status()
                    if round(status["progress_percent"]) >= 100:
                        return status
                    sleep(0.1)
                raise TimeoutError
            """: "over at 100",
            """
            def mine(get_status, sleep, tries):
                for _ in range(tries):
                    status = get_status()
                    if status["progress_percent"] >= 100:
                        return status
                raise TimeoutError
            """: "hammered",
        },
    ),
    Exercise(
        question="""
        A server reads files that a client names. Write `mine(root, path)`: True if the file at
        `path` lies inside the folder `root`, wherever `..` and symbolic links lead.
        """,
        hint="pathlib: Path(path).resolve() and is_relative_to. Resolve the root as well.",
        answer="""
        from pathlib import Path

        def mine(root, path):
            return Path(path).resolve().is_relative_to(Path(root).resolve())
        """,
        check=_check_inside,
        wrong={
            "def mine(root, path): return path.startswith(root)": "climbs out",
            "def mine(root, path):\n"
            "    return path.startswith(root) and '..' not in path": "stays inside",
            "import os\n"
            "def mine(root, path): return os.path.abspath(path).startswith(root)": "only begins",
            "import os\n"
            "def mine(root, path):\n"
            "    return os.path.abspath(path).startswith(root + os.sep)": "symbolic link",
        },
    ),
    Exercise(
        question="""
        Server-sent events come as lines. `data: ...` lines carry the text, a blank line ends an
        event, a line that begins with a colon is a comment; other fields do not matter here.
        Write `mine(lines)`: the JSON values of all events that have come in whole.
        """,
        hint="Collect what follows `data:`; at a blank line join with newlines and json.loads.",
        answer="""
        import json

        def mine(lines):
            events, data = [], []
            for line in lines:
                if line.startswith("data:"):
                    data.append(line[5:])
                elif not line and data:
                    events.append(json.loads("\\n".join(data)))
                    data = []
            return events
        """,
        check=_check_events,
        wrong={
            """
            import json
            def mine(lines):
                return [json.loads(line[5:]) for line in lines if line.startswith("data:")]
            """: "belong together",
            """
            import json
            def mine(lines):
                text = "\\n".join(lines).split("\\n\\n")
                parts = ["".join(l[5:] for l in part.split("\\n") if l.startswith("data:"))
                         for part in text]
                return [json.loads(part) for part in parts if part]
            """: "in whole",
            "def mine(lines): return []": "is wanted",
        },
    ),
]
