"""Plugins, installed as users install them, and broken ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import command_line
from tests.command_line import ROOT

PLUGINS = ROOT / "tests" / "plugin_package"
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
    code = (EXAMPLE,) if site == PLUGINS else ()  # of which the test package takes the store
    return command_line.lesson15(*arguments, sites=(site, *code), **environment)


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
        "--store", "numpy", "--chunker", "paragraphs", "--step", "unique", "--json", **environment,
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
    assert "There is no store 'numpy'. Choose one of: faiss, chroma" in gone.stderr


def presentation(path: Path, *slides: list[str]) -> None:
    """Write the parts of a ``.pptx`` file that hold its text."""
    space = "http://schemas.openxmlformats.org/drawingml/2006/main"
    with zipfile.ZipFile(path, "w") as file:
        for number, lines in reversed(list(enumerate(slides, 1))):
            texts = "".join(f"<a:t>{line}</a:t>" for line in lines)
            slide = f'<p xmlns:a="{space}">{texts}</p>'
            file.writestr(f"ppt/slides/slide{number}.xml", slide)


def test_a_new_format_chunker_steps_store_and_limited_embedder(
    docs: Path, state: Path, tmp_path: Path
) -> None:
    """Each added by the package in tests/plugin_package, without touching lesson15."""
    for path in docs.iterdir():
        path.unlink()
    presentation(
        docs / "talk.pptx",
        ["The whale", "is a mammal"],
        *([f"slide {number}"] for number in range(2, 10)),
        ["the whale", "The whale"],
    )
    (docs / "whales.txt").write_text("A whale sings.\nA whale sings.\n\nIt dives.\n")
    (docs / "cut.pptx").write_bytes((docs / "talk.pptx").read_bytes()[:100])
    log = tmp_path / "calls"
    at = ("--state-dir", state)
    done = lesson15(
        PLUGINS, "run", docs, "--batch-id", "b", *at, "--max-concurrent", 1, "--chunker", "lines",
        "--step", "dedupe", "--step", "translate", "--store", "numpy", "--embedder", "metered",
        "--json", LESSON15_EMBED_BATCH_CHUNKS="100", TEST_METERED_LOG=str(log),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["processed_docs"], report["failed_docs"]) == (2, 1)
    assert "cut.pptx: the file is cut short" in report["failures"][0]["error"]
    assert report["chunks"] == (2 + 8 + 1) + 2  # without what came before in the document
    calls = log.read_text().split()  # the probe, a call that is tried again, another one
    assert sorted(calls) == ["refused", "served", "served", "served"]
    assert calls[-1] == "served"
    found = lesson15(PLUGINS, "search", "IS A MAMMAL", "-k", 2, "--batch-id", "b", *at, "--json")
    hit = json.loads(found.stdout)["hits"][0]
    assert hit["text"] == "IS A MAMMAL"
    assert hit["span"] == [10, 21]
    assert hit["meta"] == {"slide": 1, "span": [10, 21], "language": "x-upper"}
    found = lesson15(PLUGINS, "search", "THE WHALE", "-k", 9, "--batch-id", "b", *at, "--json")
    slides = {hit["text"]: hit["meta"].get("slide") for hit in json.loads(found.stdout)["hits"]}
    assert (slides["SLIDE 9"], slides["A WHALE SINGS."]) == (9, None)
    assert lesson15(PLUGINS, "verify", "b", *at).returncode == 0
    (docs / "whales.txt").write_text("Fins.\n")
    again = json.loads(lesson15(PLUGINS, "resume", "b", *at, "--json").stdout)
    assert (again["processed_docs"], again["chunks"]) == (2, 11 + 1)
    manifest = json.loads((state / "b" / "manifest.json").read_text())["manifest"]
    assert (manifest["chunker"], manifest["steps"]) == ("lines", ["dedupe", "translate"])
    # Without the package the batch says what it lacks.
    gone = lesson15(tmp_path, "resume", "b", *at)
    assert gone.returncode == 2
    assert "There is no" in gone.stderr


def test_steps_of_the_environment(docs: Path, state: Path) -> None:
    environment = {"LESSON15_STEPS": '["translate"]', "LESSON15_CHUNKER": "lines"}
    at = ("--batch-id", "b", "--state-dir", state)
    lesson15(PLUGINS, "run", docs, *at, "--embedder", "hashing", **environment)
    found = lesson15(PLUGINS, "search", "DOCUMENT 3", *at, "-k", 1, "--json")
    assert json.loads(found.stdout)["hits"][0]["meta"]["language"] == "x-upper"
    for option in (["--step", "nothing"], ["--chunker", "nothing"]):
        wrong = lesson15(PLUGINS, "run", docs, "--state-dir", state, *option)
        assert wrong.returncode == 2
        assert f"There is no {option[0][2:]} 'nothing'. Choose one of:" in wrong.stderr


DISTRIBUTED = """
import asyncio, sys, threading
from lesson15.distributed import DistributedProcessor
from lesson15.distributed.worker import ShardWorker
from lesson15.settings import Settings
from tests.distributed.conftest import FakeQueue

docs, state = sys.argv[1:]
queue, over = FakeQueue(), threading.Event()

def work():
    worker = ShardWorker(state, Settings(retry_delay=0, chunker="default"))
    while not over.wait(0.01):
        while queue.tasks:
            worker.work_on(queue.tasks.pop(0))
    worker.close()

thread = threading.Thread(target=work)
thread.start()
settings = Settings(retry_delay=0, chunker="lines", steps=("translate",))
processor = DistributedProcessor(
    state_dir=state, embedder="hashing", settings=settings, queue=queue
)
asyncio.run(processor.process_batch([docs], "b"))
over.set()
thread.join()
"""


def test_workers_use_the_chunker_and_steps_of_the_batch(docs: Path, state: Path) -> None:
    (docs / "d0.txt").write_text("first line\nsecond line\n")
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(PLUGINS)])}
    command = [sys.executable, "-c", DISTRIBUTED, str(docs), str(state)]
    subprocess.run(command, env=paths, check=True, timeout=240, cwd=ROOT)
    at = ("--batch-id", "b", "--state-dir", state)
    (hit,) = json.loads(lesson15(PLUGINS, "search", "SECOND LINE", *at, "-k", 1, "--json").stdout)[
        "hits"
    ]
    assert (hit["text"], hit["span"]) == ("SECOND LINE", [11, 22])
    assert lesson15(PLUGINS, "verify", "b", "--state-dir", state).returncode == 0


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
        ("steps", "odd = nowhere:x", ["--step", "odd"], "No module named 'nowhere'"),
        ("steps", "odd = json:__name__", ["--step", "odd"], "is not callable"),
        ("steps", "odd = io:StringIO", ["--step", "odd"], "object of its class is not callable"),
        ("steps", "odd = datetime:date", ["--step", "odd"], "TypeError"),
        ("chunkers", "odd = nowhere:x", ["--chunker", "odd"], "No module named 'nowhere'"),
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
