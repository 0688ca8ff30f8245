"""What is built from this tree: the wheel, used from an empty folder, and the sdist."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from contextlib import suppress
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import lesson15

ROOT = Path(__file__).parents[1]
MATERIAL = "lesson15/_material"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist of this tree, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
        check=True, capture_output=True, timeout=280,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def contents(wheel: Path) -> dict[str, bytes]:
    """Every file of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(contents: dict[str, bytes]) -> Message:
    (name,) = (name for name in contents if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(contents[name].decode())


def files(folder: Path, pattern: str = "*") -> set[Path]:
    """The files below ``folder`` that belong to the source, relative to the root."""
    return {
        path.relative_to(ROOT)
        for path in folder.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_licence_is_in_the_wheel(metadata: Message, contents: dict[str, bytes]) -> None:
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("License-File") == ["LICENSE"]
    (name,) = (name for name in contents if name.endswith(".dist-info/licenses/LICENSE"))
    assert contents[name] == (ROOT / "LICENSE").read_bytes()


def test_requirements_have_lower_bounds_and_torch_no_upper_one(metadata: Message) -> None:
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    for requirement in requirements:
        assert [part.operator for part in requirement.specifier] == [">="], str(requirement)
    assert "torch" in {requirement.name for requirement in requirements}


def test_the_whole_package_is_in_the_wheel(contents: dict[str, bytes]) -> None:
    source = {path.as_posix() for path in files(ROOT / "lesson15")}
    assert "lesson15/py.typed" in source
    packed = {name for name in contents if name.startswith("lesson15/")}
    assert {name for name in packed if not name.startswith(f"{MATERIAL}/")} == source
    assert {name.split("/")[0].partition("-")[0] for name in contents} == {"lesson15"}


def test_the_course_is_in_the_wheel(contents: dict[str, bytes]) -> None:
    material = set((ROOT / "notebooks").glob("*.ipynb")) | {ROOT / "data" / "questions.json"}
    material |= {ROOT / path for path in files(ROOT / "data" / "sample_docs")}
    expected = {f"{MATERIAL}/{path.relative_to(ROOT).as_posix()}": path for path in material}
    packed = {name for name in contents if name.startswith(f"{MATERIAL}/")}
    assert packed == expected.keys()
    for name, path in expected.items():
        assert contents[name] == path.read_bytes(), name


def test_the_sdist_can_be_tested(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        packed = {Path(*Path(name).parts[1:]) for name in archive.getnames()}
    expected = files(ROOT / "tests") | files(ROOT / "data") | files(ROOT / "examples", "*.py")
    expected |= files(ROOT / "docs") | files(ROOT / "tools") | files(ROOT / "requirements")
    expected |= files(ROOT / "notebooks" / "src")
    expected |= {Path(name) for name in ("LICENSE", "Makefile", "pyproject.toml", ".ci/run")}
    assert expected - packed == set()


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a fresh environment with the wheel; what it needs is borrowed from ours."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    places = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", places))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    commands = Path(sysconfig.get_path("scripts", "venv", places))
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", commands / "python", "install", "--quiet",
         "--no-index", "--no-deps", wheel],
        check=True, timeout=120,
    )  # fmt: skip
    return commands


def clean_environment(home: Path) -> dict[str, str]:
    """Ours without what would lead to this tree, and with a home of its own."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return ours | {"HOME": str(home), "LESSON15_RETRY_DELAY": "0"}


def test_the_wheel_runs_its_own_samples(bin_folder: Path, tmp_path: Path) -> None:
    def run(*command: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(bin_folder / str(command[0])), *map(str, command[1:])],
            cwd=tmp_path, env=clean_environment(tmp_path), capture_output=True, text=True,
            timeout=280,
        )  # fmt: skip

    code = "import lesson15.course; print(lesson15.__file__, lesson15.course.sample_docs())"
    package, samples = run("python", "-c", code).stdout.split()
    assert Path(package).is_relative_to(bin_folder.parent)
    assert Path(samples).is_relative_to(Path(package).parent)

    for command in (["lesson15"], ["python", "-m", "lesson15"]):
        assert run(*command, "--version").stdout == f"lesson15 {lesson15.__version__}\n"
    done = run("lesson15", "run", samples, "--batch-id", "b", "--embedder", "hashing", "--json")
    assert done.returncode == 1, done.stderr  # the bad samples fail
    report = json.loads(done.stdout)
    bad = len(list((ROOT / "data" / "sample_docs" / "bad").iterdir()))
    assert report["failed_docs"] == bad
    assert report["processed_docs"] == len(files(ROOT / "data" / "sample_docs")) - bad
    assert run("lesson15", "verify", "b").returncode == 0


def test_the_course_opens_in_an_empty_folder(bin_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("jupyterlab")
    folder = tmp_path / "empty"
    folder.mkdir()
    process = subprocess.Popen(
        [bin_folder / "lesson15", "lab", "--no-browser"],
        cwd=folder, env=clean_environment(tmp_path), stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        shown = []
        for line in process.stderr:  # the server tells its address once it can be used
            shown.append(line)
            if "/lab/tree/00_start_here.ipynb?token=" in line:
                break
        else:
            pytest.fail("".join(shown))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    notebooks = {path.name for path in (folder / "lesson15-course").glob("*.ipynb")}
    assert notebooks == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
