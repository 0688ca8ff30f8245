"""Plugins, installed as users install them, and broken ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "lesson15-example-plugin"
SUBTITLES = """1
00:00:01,000 --> 00:00:03,500
<i>The lighthouse</i> is dark tonight.

2
00:00:04,000 --> 00:00:06,000
Then who lit it yesterday?
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, installed into a folder of its own."""
    source = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(EXAMPLE, source)  # building leaves files behind
    target = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
         "--no-build-isolation", "--target", target, source],
        check=True, timeout=120,
    )  # fmt: skip
    return target


def lesson15(
    site: Path, *arguments: object, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lesson15.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)]),
            "LESSON15_RETRY_DELAY": "0",
            **environment,
        },
    )


def test_one_plugin_of_each_kind(installed: Path, docs: Path, state: Path, tmp_path: Path) -> None:
    (docs / "film.srt").write_text(SUBTITLES)
    (docs / "broken.srt").write_text("no times in here")
    at = ("--state-dir", state)
    environment = {
        "LESSON15_CHECKPOINT_BACKEND": "nosync",
        "LESSON15_EXAMPLE_NOTICES": str(tmp_path / "notices"),
    }
    done = lesson15(
        installed, "run", docs, "--batch-id", "b", *at, "--embedder", "trigrams",
        "--store", "numpy", "--json", **environment,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["processed_docs"], report["failed_docs"]) == (11, 3)
    errors = " ".join(failure["error"] for failure in report["failures"])
    assert "not valid SRT (no line has times)" in errors
    (notice,) = (tmp_path / "notices").read_text().splitlines()
    assert json.loads(notice)["processed_docs"] == 11
    found = lesson15(
        installed, "search", "lihgthouse drak", "-k", 1, "--batch-id", "b", *at, "--json"
    )
    (hit,) = json.loads(found.stdout)["hits"]
    assert hit["doc_id"].endswith("film.srt")
    assert "<i>" not in hit["text"]
    assert "-->" not in hit["text"]
    (docs / "d1.txt").unlink()
    assert lesson15(installed, "resume", "b", *at, **environment).returncode == 1
    verified = lesson15(installed, "verify", "b", *at)
    assert verified.returncode == 0, verified.stdout
    # Without the package the batch says what it lacks.
    gone = lesson15(tmp_path, "search", "x", "--batch-id", "b", *at)
    assert gone.returncode == 2
    assert "There is no embedder 'trigrams'. Choose one of: minilm, hashing," in gone.stderr


def broken(folder: Path, package: str, group: str, entry: str) -> Path:
    """A site folder with the entry point of a package."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")
    return folder


@pytest.mark.parametrize(
    ("group", "entry", "options", "message"),
    [
        ("loaders", "srt = no_such_module:load", [], "No module named 'no_such_module'"),
        ("loaders", "srt = json:no_such_name", [], "no attribute 'no_such_name'"),
        ("loaders", "srt = json:__name__", [], "is not callable"),
        ("loaders", "txt = json:loads", [], "lesson15 has a loader of that name of its own"),
        ("embedders", "odd = json:loads", ["--embedder", "odd"], "it has no number `dimensions`"),
        ("stores", "odd = nowhere:x", ["--store", "odd"], "No module named 'nowhere'"),
        ("notifiers", "odd = nowhere:x", [], "No module named 'nowhere'"),
    ],
)
def test_a_broken_plugin_is_named(
    tmp_path: Path,
    docs: Path,
    state: Path,
    group: str,
    entry: str,
    options: list[str],
    message: str,
) -> None:
    site = broken(tmp_path / "site", "faulty", f"lesson15.{group}", entry)
    done = lesson15(
        site, "run", docs, "--batch-id", "b", "--state-dir", state, "--embedder", "hashing",
        *options,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    name = entry.partition(" ")[0]
    assert (
        f"The plugin {name!r} of the package 'faulty' in the group lesson15.{group}" in done.stderr
    )
    assert "pip uninstall faulty" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_plugins_of_one_name(tmp_path: Path, docs: Path, state: Path) -> None:
    site = tmp_path / "site"
    broken(site, "first", "lesson15.loaders", "srt = json:loads")
    broken(site, "second", "lesson15.loaders", "srt = json:dumps")
    done = lesson15(site, "run", docs, "--state-dir", state)
    assert done.returncode == 2
    assert "has one of that name, too" in done.stderr


def test_an_unknown_checkpoint_backend(docs: Path, state: Path, tmp_path: Path) -> None:
    done = lesson15(tmp_path, "run", docs, "--state-dir", state, LESSON15_CHECKPOINT_BACKEND="s3")
    assert done.returncode == 2
    assert "There is no checkpoint backend 's3'. Choose one of: os." in done.stderr
