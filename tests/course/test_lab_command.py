"""`lesson15 lab`: copies for the student, and clear words when something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lesson15
from lesson15.cli import app
from lesson15.cli import lab as lab_module
from lesson15.course.material import course_root, make_documents, work_folder
from lesson15.errors import MissingDependencyError


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have been started."""
    commands: list[list[str]] = []

    def run(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(lab_module.subprocess, "run", run)
    return commands


def lab(*options: str) -> None:
    result = CliRunner().invoke(app, ["lab", *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_copies_are_made_once_and_kept(tmp_path: Path, started: list[list[str]]) -> None:
    folder = tmp_path / "course"
    lab(f"--folder={folder}", "--port=9999", "--no-browser")
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in (course_root() / "notebooks").glob("*.ipynb"))
    assert {f"--notebook-dir={folder}", "--port=9999", "--no-browser"} <= set(started[0])
    (folder / names[0]).write_text("mine")
    (folder / names[1]).unlink()
    lab(f"--folder={folder}")
    assert (folder / names[0]).read_text() == "mine"
    assert (folder / names[1]).exists()
    assert "--no-browser" not in started[1]


def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, started: list[list[str]]
) -> None:
    monkeypatch.setattr(lab_module, "find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError, match=r"lesson15 lab needs .*lesson15\[course\]"):
        lab()
    assert started == []


def test_a_package_without_its_course_says_so(tmp_path: Path) -> None:
    package = Path(lesson15.__file__).parent
    shutil.copytree(package, tmp_path / "lesson15", ignore=shutil.ignore_patterns("_material"))
    done = subprocess.run(
        [sys.executable, "-m", "lesson15", "lab"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "There are no notebooks and sample documents in" in done.stderr
    assert str(tmp_path) in done.stderr
    assert not (tmp_path / "lesson15-course").exists()


def test_documents_to_practise_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_documents(tmp_path / "docs", 120)
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert len(texts) == len(set(texts.values())) == 120
    assert all(len(text) > 80 and "\x00" not in text for text in texts.values())
    assert sorted(texts)[7] == "doc-007.txt"
    make_documents(folder, 130)
    assert len(list(folder.iterdir())) == 130

    monkeypatch.chdir(tmp_path)
    work = work_folder("a")
    (work / "file").touch()
    assert (work_folder("a", fresh=False) / "file").exists()
    assert not list(work_folder("a").iterdir())
