from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from lesson15 import BatchProcessor, verify
from lesson15.documents.isolation import ParserPool
from lesson15.documents.parsed import ParseOptions
from lesson15.documents.parsing import parse_document
from lesson15.errors import (
    DocumentNotFoundError,
    EmptyDocumentError,
    InvalidChunkError,
    MalformedDocumentError,
    OutOfMemoryError,
    ParserCrashedError,
    ParseTimeoutError,
)
from lesson15.settings import Settings
from tests.conftest import SAMPLES

PLUGINS = Path(__file__).parents[1] / "plugin_package"
pytestmark = pytest.mark.usefixtures("_poison")


@pytest.fixture
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parser processes see the plugins of tests/plugin_package, as if they were installed."""
    before = filter(None, [os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PLUGINS), *before]))


@pytest.fixture
async def pool() -> AsyncIterator[ParserPool]:
    async with ParserPool(2, ParseOptions(), timeout=3.0) as pool:
        yield pool
    assert not [child for child in psutil.Process().children() if "parser_process" in
                " ".join(child.cmdline())]  # fmt: skip


def write(folder: Path, name: str, text: str = "some words") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


async def texts(pool: ParserPool, path: str) -> list[str]:
    return [chunk.text for chunk in (await pool.parse(path)).chunks]


async def test_the_pool_gives_what_the_parser_does(pool: ParserPool, tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{n}.txt", f"Text {n}, 第{n}份. " * 3000 * n) for n in range(1, 6)]
    paths += [str(SAMPLES / "guides" / name) for name in ("concrete.pdf", "green-tea.md")]
    found = await asyncio.gather(*map(pool.parse, paths))
    assert found == [parse_document(path, ParseOptions()) for path in paths]
    assert found[-2].chunks[1].meta["page"] == 2


async def test_parsers_do_not_get_the_keys(
    pool: ParserPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LESSON15_ENCRYPTION_KEY", "secret")
    monkeypatch.setenv("LESSON15_RETRY_DELAY", "1")
    (text,) = await texts(pool, write(tmp_path, "a.env"))
    assert "LESSON15_RETRY_DELAY" in text
    assert "ENCRYPTION" not in text


@pytest.mark.parametrize(
    ("name", "error", "part"),
    [
        ("a.hang", ParseTimeoutError, "LESSON15_PARSE_TIMEOUT"),
        ("a.crash", ParserCrashedError, "SIGSEGV"),
        ("a.leave", ParserCrashedError, "status 7"),
        ("a.eat", OutOfMemoryError, "not enough memory"),
        ("a.stumble", MalformedDocumentError, "ZeroDivisionError"),
        ("a.string", InvalidChunkError, "the loader of .string files .*str instead of Loaded"),
        ("a.badmeta", InvalidChunkError, r"meta\['read_at'\] is a value of the type datetime"),
        ("a.txt", EmptyDocumentError, "empty"),
        ("absent.txt", DocumentNotFoundError, "no such file"),
    ],
)
async def test_poison_harms_only_itself(
    pool: ParserPool, tmp_path: Path, name: str, error: type[Exception], part: str
) -> None:
    bad = write(tmp_path, name, "" if name == "a.txt" else "x") if "absent" not in name else name
    good = write(tmp_path, "good.txt")
    with pytest.raises(error, match=part):
        await pool.parse(bad)
    assert await texts(pool, good) == ["some words"]


@pytest.mark.parametrize(
    ("chunker", "error", "part"),
    [
        ("beyond", InvalidChunkError, "the chunker 'beyond' .*within 10 characters"),
        ("stuck", ParseTimeoutError, "LESSON15_PARSE_TIMEOUT"),
    ],
)
async def test_a_bad_chunker_harms_only_its_document(
    tmp_path: Path, chunker: str, error: type[Exception], part: str
) -> None:
    async with ParserPool(1, ParseOptions(chunker=chunker), timeout=3.0) as pool:
        with pytest.raises(error, match=part):
            await pool.parse(write(tmp_path, "a.txt"))


async def test_a_run_without_faults_loads_none_of_that_code(
    pool: ParserPool, tmp_path: Path
) -> None:
    modules = " ".join(await texts(pool, write(tmp_path, "a.modules")))
    assert "lesson15.documents.parsing" in modules
    assert "faults" not in modules


async def test_what_a_parser_prints_does_no_harm(pool: ParserPool, tmp_path: Path) -> None:
    path = write(tmp_path, "a.chat")
    for _ in range(3):
        assert await texts(pool, path) == ["some words"]


async def test_a_cancelled_parse_leaves_nothing_behind(pool: ParserPool, tmp_path: Path) -> None:
    hanging = [asyncio.create_task(pool.parse(write(tmp_path, "a.hang"))) for _ in range(2)]
    await asyncio.sleep(0.3)
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    assert await texts(pool, write(tmp_path, "b.txt", "other")) == ["other"]


async def test_a_process_that_died_idle_is_replaced(pool: ParserPool, tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt")
    await pool.parse(path)
    for child in psutil.Process().children():
        if "parser_process" in " ".join(child.cmdline()):
            child.kill()
    await asyncio.sleep(0.3)
    assert await texts(pool, path) == ["some words"]


async def test_a_file_name_may_be_any_bytes(pool: ParserPool, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")
    Path(path).write_text("some words")
    assert await texts(pool, path) == ["some words"]
    Path(path).write_text("")
    with pytest.raises(EmptyDocumentError) as caught:
        await pool.parse(path)
    assert caught.value.fields["path"] == path


async def test_the_working_directory_is_not_imported_from(
    pool: ParserPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "struct.py", "raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert await texts(pool, write(tmp_path, "a.txt")) == ["some words"]


def test_a_hard_memory_limit_of_the_shell_is_kept(tmp_path: Path) -> None:
    script = (
        "import asyncio, resource, sys\n"
        "from lesson15.documents.isolation import ParserPool\n"
        "from lesson15.documents.parsed import ParseOptions\n"
        "async def main():\n"
        "    async with ParserPool(1, ParseOptions()) as pool:\n"
        "        print((await pool.parse(sys.argv[1])).chunks[0].text)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1536 * 1024**2,) * 2)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script, write(tmp_path, "a.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "some words\n", done.stderr


async def test_a_batch_outlives_its_poison(
    tmp_path: Path, make: Callable[..., BatchProcessor], state: Path
) -> None:
    docs = tmp_path / "poison"
    docs.mkdir()
    for number in range(20):
        write(docs, f"{number}.txt", f"words {number}")
    bad = [write(docs, f"z{number}.{kind}") for number in range(2) for kind in ("hang", "crash")]
    processor = make(settings=Settings(retry_delay=0, parse_timeout=4))
    report = await processor.process_batch([docs, *bad], "b")
    assert (report["processed_docs"], report["failed_docs"]) == (20, 4)
    assert verify("b", state).is_clean
