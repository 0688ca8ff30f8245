"""Damaged, missing and foreign files of a batch, under every command: a named error or a clean
recovery, never a traceback and never a batch that silently lost something.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lesson15.crashlab.disk import Crash
from lesson15.embedding import HashingEmbedder
from lesson15.engine.verify import verify
from tests.crash import oracle
from tests.crash.conftest import Run
from tests.crash.engine import InlineProcessor, Recorder, drive
from tests.crash.recovery_check import put

FILES = ("checkpoint.json", "manifest.json", "journal.log", "segment.bin", "catalog.sqlite",
         "catalog.sqlite.crc", "index.faiss", "index.faiss.json", "lock", "owner.json")  # fmt: skip
Damage = Callable[[Path, Path], None]
COMMANDS = ("resume", "status", "search", "verify", "list", "retry-failed")


NAMESAKE = ("manifest.json", "of a namesake")
"""Then its documents are done too."""


def flip(at: float) -> Damage:
    def damage(path: Path, elsewhere: Path) -> None:
        data = bytearray(path.read_bytes() or b"\0")
        data[int(at * (len(data) - 1))] ^= 4
        path.write_bytes(data)

    return damage


def flip_name(path: Path, elsewhere: Path) -> None:
    """Within a document's name, which SQLite would believe."""
    data = path.read_bytes()
    path.write_bytes(data.replace(b"d3.txt", b"d7.txx") if b"d3.txt" in data else data[:-1])


def cut(path: Path, elsewhere: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def empty(path: Path, elsewhere: Path) -> None:
    path.write_bytes(b"")


def delete(path: Path, elsewhere: Path) -> None:
    path.unlink()


def foreign(batch: str) -> Damage:
    """The file of another, longer batch."""

    def damage(path: Path, elsewhere: Path) -> None:
        path.write_bytes((elsewhere / batch / path.name).read_bytes())

    return damage


def garbage(path: Path, elsewhere: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(5000))


def folder(path: Path, elsewhere: Path) -> None:
    path.unlink()
    path.mkdir()


def unreadable(path: Path, elsewhere: Path) -> None:
    """A link to itself: opening it fails, for root too."""
    path.unlink()
    path.symlink_to(path)


DAMAGES: dict[str, Damage] = {
    "flip at the start": flip(0),
    "flip at 10 %": flip(0.1),
    "flip at 40 %": flip(0.4),
    "flip in the middle": flip(0.5),
    "flip at 85 %": flip(0.85),
    "flip at the end": flip(1),
    "flip in a name": flip_name,
    "cut": cut,
    "emptied": empty,
    "deleted": delete,
    "foreign": foreign("other"),
    "of a namesake": foreign("b"),
    "garbage": garbage,
    "a folder": folder,
    "unreadable": unreadable,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished batch "b" of ten documents, one of them bad; elsewhere, longer ones: another
    batch and a namesake.
    """
    home = tmp_path_factory.mktemp("damage")
    for name, count in (("docs", 9), ("others", 30)):
        (home / name).mkdir()
        for number in range(count):
            text = f"{name} {number} about subject {number * 37}. " * 3
            (home / name / f"d{number}.txt").write_text(text)
        (home / name / "bad.json").write_text("{")
    for state, batch, docs in (
        ("sound", "b", "docs"), ("elsewhere", "b", "others"), ("elsewhere", "other", "others"),
    ):  # fmt: skip
        engine = InlineProcessor(home / state, embedder=HashingEmbedder())
        drive(engine.process_batch([home / docs], batch))
        for left in ("lock", "owner.json"):  # as a killed process leaves them
            (home / state / batch / left).touch()
    return home


@pytest.fixture(scope="module")
def killed(home: Path) -> Path:
    """The batch as it was when its process was killed, before its index was saved."""
    state = home / "killed"
    recorder = Recorder(state / "b")
    recorder.stop_at(35)
    engine = InlineProcessor(state, 3, recorder, recorder.watch, HashingEmbedder())
    with pytest.raises(Crash):
        drive(engine.process_batch([home / "docs"], "b"))
    put({**recorder.snapshots[-1], **next(recorder.disk.outcomes())[1]}, state / "b")
    for left in ("lock", "owner.json"):
        (state / "b" / left).touch()
    return state


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_damage(
    home: Path, tmp_path: Path, command: Run, file: str, damage: str, name: str
) -> None:
    state = tmp_path / "state"
    shutil.copytree(home / "sound", state)
    DAMAGES[damage](state / "b" / file, home / "elsewhere")
    code, out, err = run_command(command, name, state)
    event = f"exit {code}\n{out}\n{err}"
    assert "Traceback" not in event
    if code in (2, 3):
        assert str(state / "b") in err, f"does not say where: {event}"
        return
    report = json.loads(out)
    if name == "list":
        assert [batch["batch_id"] for batch in report["batches"]] == ["b"], event
        if report["batches"][0]["status"] not in ("damaged", "unreadable"):
            check_counts(report["batches"][0])
    elif name == "status":
        check_counts(report)
    elif name == "search":
        sound = sound_hits(command, home, tmp_path)
        if damaged := report["damaged"]:  # they are left out, and others follow
            assert file == "segment.bin", event
            assert not {hit["doc_id"] for hit in report["hits"]} & set(damaged), event
            scores = [hit["score"] for hit in sound if hit["doc_id"] not in damaged]
            assert [hit["score"] for hit in report["hits"]][: len(scores)] == scores, event
        else:
            assert report["hits"] == sound, event
    elif name == "verify":
        assert code == (0 if report["ok"] else 1)
        assert report["documents"] == 10 or not report["ok"]
    elif (file, damage) != NAMESAKE:
        check_resumed(state, home, file, damage, code, out)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_damage_of_a_killed_batch(
    home: Path, killed: Path, tmp_path: Path, command: Run, file: str, damage: str
) -> None:
    state = tmp_path / "state"
    shutil.copytree(killed, state)
    if not (state / "b" / file).exists():
        pytest.skip("not there when it was killed")
    DAMAGES[damage](state / "b" / file, home / "elsewhere")
    code, out, err = run_command(command, "resume", state)
    if code in (2, 3):
        assert str(state / "b") in err
    elif (file, damage) != NAMESAKE:
        check_resumed(state, home, file, damage, code, out)


def run_command(command: Run, name: str, state: Path) -> tuple[int, str, str]:
    at = ("--state-dir", state, "--json")
    if name == "list":
        return command("list", *at)
    if name == "search":
        return command("search", "subject 111", "-k", 4, "--batch-id", "b", *at)
    return command(name, "b", *at)


def check_resumed(state: Path, home: Path, file: str, damage: str, code: int, out: str) -> None:
    assert code == 1, out  # one document is bad
    check_counts(json.loads(out))
    result = verify("b", state)
    if file in ("journal.log", "segment.bin") and damage.startswith("flip") and not result.is_clean:
        return  # too costly to look for at each resume
    assert result.is_clean, result.faults
    assert oracle.indexed(state, "b") == oracle.sequential(home / "docs", "hashing")


def sound_hits(command: Run, home: Path, tmp_path: Path) -> list[dict[str, Any]]:
    shutil.copytree(home / "sound", tmp_path / "sound")
    code, out, _ = run_command(command, "search", tmp_path / "sound")
    assert code == 0
    hits: list[dict[str, Any]] = json.loads(out)["hits"]
    return hits


def check_counts(report: dict[str, Any]) -> None:
    counts = report["processed_docs"], report["failed_docs"], report["total_docs"]
    assert counts == (9, 1, 10)
