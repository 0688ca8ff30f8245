"""``tools/hops.py``: the route of one document is counted as its docstring says."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TOOL = ROOT / "tools" / "hops.py"
FEW = 15
"""Functions that a slower machine may call besides, or not: those that a clock calls."""


def hops(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def route(*arguments: str, **environment: str) -> dict[str, Any]:
    run = hops("--json", *arguments, **environment)
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


@pytest.fixture(scope="module")
def by_function() -> dict[str, Any]:
    return route()


def names(answer: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["file"], each["name"]) for each in answer["functions"]}


def test_the_route_begins_at_the_entry_and_names_functions(by_function: dict[str, Any]) -> None:
    functions = by_function["functions"]
    assert functions[0]["name"] == "run"
    assert len({(each["file"], each["line"], each["name"]) for each in functions}) == len(functions)
    for each in functions:
        lines = (ROOT / each["file"]).read_text(encoding="utf-8").splitlines()
        assert lines[each["line"] - 1].lstrip().startswith(("def ", "async def ", "@")), each
    assert sum(by_function["files"].values()) == len(functions) > 50
    assert list(by_function["files"]) == list(dict.fromkeys(each["file"] for each in functions))


def test_the_route_is_the_same_each_time(by_function: dict[str, Any]) -> None:
    again = route(LESSON15_MAX_CONCURRENT="no number", LESSON15_LOG_LEVEL="DEBUG")
    assert len(names(again) ^ names(by_function)) <= FEW


def test_the_command_goes_by_the_same_engine(by_function: dict[str, Any]) -> None:
    by_command = route("--cli")
    assert by_command["functions"][0]["name"] == "main"
    assert any(file.startswith("lesson15/cli/") for file in by_command["files"])
    engine = {name for name in names(by_function) if name[0].startswith("lesson15/checkpoint/")}
    assert len(engine - names(by_command)) <= FEW


def test_a_reader_sees_files_or_functions(by_function: dict[str, Any]) -> None:
    files = hops("--files").stdout.splitlines()
    assert {line.split()[1] for line in files[:-1]} >= set(list(by_function["files"])[:5])
    assert files[-1].startswith("lesson15.run: ")
    assert files[-1].endswith(f" functions in {len(files) - 1} files")
    first = by_function["functions"][0]
    expected = f"   1  {first['file']}:{first['line']}  run"
    assert hops().stdout.splitlines()[0] == expected


def test_a_document_must_name_each_file(by_function: dict[str, Any], tmp_path: Path) -> None:
    modules = (path.relative_to(ROOT).as_posix() for path in ROOT.glob("lesson15/**/*.py"))
    paths = [f"- [it]({path})\n" for path in modules]
    document = tmp_path / "WAY.md"
    document.write_text("".join(paths), encoding="utf-8")
    run = hops("--check", document)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("lesson15.run: ")

    first = by_function["functions"][0]["file"]
    rest = "".join(line for line in paths if f"({first})" not in line)
    document.write_text(f"{rest} my{first} and {first}c are other files", encoding="utf-8")
    run = hops("--check", document)
    assert run.returncode == 1
    assert run.stderr.splitlines()[1:] == [f"  {first}"]


def test_a_missing_document_is_named(tmp_path: Path) -> None:
    run = hops("--check", tmp_path / "none.md")
    assert run.returncode == 2
    assert "none.md" in run.stderr


PACKAGE = {
    "steps.py": """
import functools, threading

def in_class_body():
    return 1

class Steps:
    number = in_class_body()  # called by an import: not counted

    def __init__(self):
        self.doubles = [double(each) for each in (1, 2)]

    @property
    def total(self):
        return sum(each for each in self.doubles)

    @functools.cache
    def cached(self):
        return (lambda: 1)()

def double(number):
    return 2 * number

def numbers():
    yield 1
    yield 2

async def wait():
    return 1

def never():
    pass

def start():
    def in_thread():
        list(numbers())
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    steps = Steps()
    steps.total, steps.cached(), steps.cached()
    try:
        wait().send(None)
    except StopIteration:
        pass
    import others
""",
    "others.py": """
def at_import():
    pass

at_import()
""",
}


def test_what_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("hops", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for name, text in PACKAGE.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "PACKAGE", str(tmp_path) + os.sep)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "others", raising=False)
    found = tool.Route()
    found.follow(lambda: __import__("steps").start())
    monkeypatch.delitem(sys.modules, "steps")
    monkeypatch.delitem(sys.modules, "others")
    assert [function.name for function in found.functions] == [
        "start",
        "start.<locals>.in_thread",
        "numbers",
        "Steps.__init__",
        "double",
        "Steps.total",
        "Steps.cached",
        "wait",
    ]


def test_the_architecture_names_every_file_on_the_route() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "hops.py", "--check", "ARCHITECTURE.md"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
