"""Which files of a folder are documents, and what becomes of those that are not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lesson15 import BatchProcessor, verify
from lesson15.documents.scan import Scan, read_list, scan
from lesson15.errors import UsageError
from lesson15.models import ScanRules
from lesson15.terminal import printable
from tests import command_line

Make = Callable[..., BatchProcessor]
lesson15 = partial(command_line.lesson15, LESSON15_EMBEDDER="hashing")


def tree(folder: Path, *names: str, **contents: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents.get(name, f"words of {name}"))
    return folder


def found(folder: Path, **rules: Any) -> list[str]:
    return [os.path.relpath(path, folder) for path in scan([folder], ScanRules(**rules))]


def test_what_is_never_a_document(tmp_path: Path) -> None:
    tree(
        tmp_path, "a.txt", "~$a.docx", ".git/b.txt", ".hidden.txt", "node_modules/c.md", "d/e.md",
        "__pycache__/f.txt",
    )  # fmt: skip
    assert found(tmp_path) == ["a.txt", "d/e.md"]
    assert list(scan([tmp_path / ".hidden.txt"])) == [str(tmp_path / ".hidden.txt")]  # as named


def test_unsupported_files_are_counted_by_suffix(tmp_path: Path) -> None:
    tree(tmp_path, "a.txt", "b.png", "d/c.PNG", "Makefile", "e.zip", ".f.png")
    found = Scan([tmp_path])
    assert len(list(found)) == 1
    assert found.unsupported == {".png": 2, "": 1, ".zip": 1}
    many = tree(tmp_path / "many", *[f"x.s{number}" for number in range(300)])
    counted = Scan([many])
    assert not list(counted)
    assert (len(counted.unsupported), counted.unsupported["other"]) == (101, 200)


def test_folders_deeper_than_python_recurses(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("a.txt", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        assert found(tmp_path) == ["d/" * 1500 + "a.txt"]
    finally:  # what pytest removes folders with recurses, too
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


async def test_links_in_a_loop_and_into_closed_folders_fail_by_name(
    tmp_path: Path, state: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = tree(tmp_path / "docs", "a.txt", "z.txt")
    (docs / "loop.txt").symlink_to("loop.txt")
    (docs / "loop").symlink_to("loop")
    (docs / "folder").symlink_to(tmp_path)
    report = await make().process_batch([docs], "b")
    assert (report["processed_docs"], report["failed_docs"]) == (2, 1)
    assert "loop.txt" in report["failures"][0]["error"]
    assert report["run"]["unsupported"] == {"": 1}
    again = await make().resume_batch("b")
    assert (again["failed_docs"], again["run"]["unchanged"]) == (1, 3)


def test_include_and_exclude(tmp_path: Path) -> None:
    tree(tmp_path, "a.txt", "b.md", "drafts/c.md", "d/drafts/e.md", "d/f.txt")
    assert found(tmp_path, include=("*.md",)) == ["b.md", "d/drafts/e.md", "drafts/c.md"]
    assert found(tmp_path, exclude=("drafts/",)) == ["a.txt", "b.md", "d/f.txt"]
    assert found(tmp_path, exclude=("/drafts", "*.txt")) == ["b.md", "d/drafts/e.md"]
    assert found(tmp_path, include=("*.md", "d/*.txt"), exclude=("d/drafts",)) == [
        "b.md", "d/f.txt", "drafts/c.md",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="--exclude: this is no pattern"):
        found(tmp_path, exclude=("!",))


def test_the_rules_of_git(tmp_path: Path) -> None:
    """They are compared with git itself."""
    repository = tmp_path / "repository"
    tree(
        repository, "a.txt", "build/b.txt", "docs/c.txt", "docs/keep.log.txt", "docs/x/d.txt",
        "docs/x/build/e.txt", "docs/x/f.md", "docs/y/d.txt", "docs/y/z/d.txt",
    )  # fmt: skip
    (repository / ".gitignore").write_text("build/\n*.log.txt\nd.txt\n")
    (repository / "docs" / ".gitignore").write_text("!keep.log.txt\n/x/*.md\n")
    (repository / "docs" / "y" / ".gitignore").write_text("!d.txt\n")
    try:
        subprocess.run(["git", "init", "-q", repository], check=True)
    except OSError:
        pytest.skip("git is not here")
    for place in (repository, repository / "docs", repository / "docs" / "y"):
        listed = subprocess.run(
            ["git", "ls-files", "--others", "--exclude-standard"],
            cwd=place, capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        documents = [name for name in listed if ".gitignore" not in name]
        assert sorted(found(place, gitignore=True)) == sorted(documents)
    assert len(found(repository)) == 9


def test_lists(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a.txt\n\nb c.txt\ncaf\xe9.txt")
    names = ["a.txt", "b c.txt", os.fsdecode(b"caf\xe9.txt")]
    assert list(read_list(str(tmp_path / "list"), null_separated=False)) == names
    (tmp_path / "nul").write_bytes(b"a\nb.txt\0c.txt\0")
    assert list(read_list(str(tmp_path / "nul"), null_separated=True)) == ["a\nb.txt", "c.txt"]
    long = [f"folder/document-{number}.txt" for number in range(20_000)]
    (tmp_path / "long").write_text("\n".join(long))
    assert list(read_list(str(tmp_path / "long"), null_separated=False)) == long
    with pytest.raises(UsageError, match="absent cannot be read"):
        list(read_list(str(tmp_path / "absent"), null_separated=False))


async def test_a_resume_scans_as_the_run_did(tmp_path: Path, state: Path, make: Make) -> None:
    docs = tree(tmp_path / "docs", "a.md", "b.txt", "drafts/c.md")
    rules = ScanRules(include=("*.md",), exclude=("drafts",))
    report = await make(rules=rules).process_batch([docs], "b")
    assert report["total_docs"] == 1
    tree(docs, "d.md", "e.txt", "drafts/f.md")
    report = await make().resume_batch("b")
    assert (report["total_docs"], report["run"]["new"]) == (2, 1)
    assert verify("b", state).is_clean


def test_rules_on_the_command_line(tmp_path: Path, state: Path) -> None:
    docs = tree(tmp_path / "docs", "a.md", "b.txt", "c.txt", "drafts/c.md", "x.png")
    (docs / ".gitignore").write_text("c.txt\n")
    at = ("--state-dir", state, "--json")
    done = lesson15("run", docs, "--batch-id", "b", *at, "--exclude", "drafts", "--gitignore")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["total_docs"], report["run"]["unsupported"]) == (2, {".png": 1})
    tree(docs, "drafts/d.md", "e.txt")
    report = json.loads(lesson15("resume", "b", *at).stdout)
    assert (report["total_docs"], report["run"]["new"]) == (3, 1)
    for options, said in (
        (("--exclude", "!"), "--exclude: this is no pattern"),
        (("-0",), "-0 needs --files-from"),
        (("--files-from", "absent"), "absent cannot be read"),
        (("--include", "*.html"), "No documents to process"),
    ):
        done = lesson15("run", docs, "--batch-id", "c", *at, *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


def test_files_from_a_list_and_from_standard_input(tmp_path: Path, state: Path) -> None:
    docs = tree(tmp_path / "docs", "a.md", "b.txt", "c.txt", "more/d.txt")
    (docs / "list").write_text("a.md\nmore\n")
    at = ("--state-dir", state, "--json")
    done = lesson15("run", "--files-from", "list", "--batch-id", "b", *at, cwd=docs)
    assert json.loads(done.stdout)["total_docs"] == 2, done.stderr
    (docs / "list").write_text("a.md\nmore\nb.txt\n")
    report = json.loads(lesson15("resume", "b", *at).stdout)  # from another folder
    assert (report["total_docs"], report["run"]["new"]) == (3, 1)

    run = ("run", "--files-from", "-", "-0", "--batch-id", "s", *at)
    done = lesson15(*run, cwd=docs, given="a.md\0b.txt\0")
    assert json.loads(done.stdout)["total_docs"] == 2, done.stderr
    refused = lesson15("resume", "s", *at)
    assert refused.returncode == 2
    assert "lesson15 resume s --files-from -" in refused.stderr
    done = lesson15("resume", "s", *at, "--files-from", "-", cwd=docs, given="a.md\nc.txt\n")
    report = json.loads(done.stdout)
    assert (report["total_docs"], report["run"]["new"], report["run"]["unchanged"]) == (3, 1, 2)


def test_lists_of_other_systems_and_empty_ones(tmp_path: Path, state: Path) -> None:
    docs = tree(tmp_path / "docs", "a.md", "b.txt")
    at = ("--state-dir", state, "--json")
    (docs / "list").write_bytes(b"\xef\xbb\xbfa.md\r\n\r\nb.txt\r\n")
    done = lesson15("run", "--files-from", "list", "--batch-id", "b", *at, cwd=docs)
    assert json.loads(done.stdout)["processed_docs"] == 2, done.stderr
    (docs / "list").write_bytes(b"\r\n")
    for name, given in (("list", ""), ("-", ""), ("-", "\n\n")):
        done = lesson15("run", "--files-from", name, "--batch-id", "e", *at, cwd=docs, given=given)
        assert (done.returncode, done.stdout) == (2, ""), name
        assert "No documents to process" in done.stderr
        assert not (state / "e").exists()


def test_a_name_is_the_same_in_every_locale(tmp_path: Path, state: Path) -> None:
    docs = tree(tmp_path / "docs", "\u00fc\u6587.txt", "a.txt")
    at = ("--batch-id", "b", "--state-dir", state, "--json")
    old = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = lesson15("run", docs, *at, **old)
    assert done.returncode == 0, done.stderr
    for locale in ({"LC_ALL": "C.UTF-8"}, old):
        report = json.loads(lesson15("resume", "b", *at[2:], **locale).stdout)
        assert (report["total_docs"], report["run"]["unchanged"]) == (2, 2)


def test_a_list_from_a_standard_input_that_is_closed(state: Path) -> None:
    shell = f"{sys.executable} -m lesson15 run --files-from - --state-dir '{state}' <&-"
    done = subprocess.run(
        shell, shell=True, capture_output=True, text=True, check=False, cwd=command_line.ROOT
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "No documents to process" in done.stderr


def test_file_names_do_not_reach_the_terminal_as_commands(tmp_path: Path, state: Path) -> None:
    name = "\x1b[2J\x9b31m\rgone\u202e.txt"
    docs = tree(tmp_path / "docs", "a.txt", "other\x1b]0;title\x07.\x1b[7mpng")
    (docs / name).touch()
    at = ("--state-dir", state)
    done = lesson15("run", docs, "--batch-id", "b", *at)
    shown = [done, lesson15("failures", "b", *at), lesson15("resume", "b", *at)]
    shown += [lesson15("run", docs / "no\x1b[2Jfile", *at), lesson15("list", *at)]
    shown += [lesson15("replay", "b", *at)]
    tree(docs, "say\x1b[2J.txt")
    (docs / "say\x1b[2J.txt").write_text("hello \x1b[31m red")
    shown += [lesson15("resume", "b", *at), lesson15("search", "red", "--batch-id", "b", *at)]
    for done in shown:
        for text in (done.stdout, done.stderr):
            assert not set("\x1b\x9b\r\x07\u202e") & set(text), text
    assert "\\x1b[2J\\x9b31m\\rgone\\u202e.txt" in shown[0].stdout
    listed = json.loads(lesson15("failures", "b", *at, "--json").stdout)
    assert listed["failures"][0]["doc_id"].endswith(name)


def test_what_is_printable() -> None:
    plain = "café 文档 ‎نامه‌ها".replace("\u200e", "")
    assert printable(plain) == plain
    assert printable("a\nb\t\x7f\udce9") == "a\\nb\\t\\x7f\\udce9"
