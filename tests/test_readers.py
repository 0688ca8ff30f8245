"""Readers: one reading of the checkpoint, of one commit, with the keys given, beside any writer."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

import lesson15
from lesson15 import Batch, BatchProcessor, CheckpointManager, Recording, Searcher, verify
from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.layout import batch_lock
from lesson15.engine.transcript import remove_folder
from lesson15.errors import BatchKeyError
from lesson15.events import Committed, DocSettled
from lesson15.settings import Settings
from lesson15.stores.catalog import Catalog
from tests import other_process
from tests.other_process import NEW, OLD, Tiny

ROOT = Path(__file__).parent.parent
Make = Callable[..., BatchProcessor]
IS_FULL = os.environ.get("LESSON15_READER_TESTS") == "full"
SECRET = Settings(retry_delay=0, encryption_key=SecretStr("5a" * 32))


async def test_keys_that_are_not_in_the_environment(docs: Path, state: Path, make: Make) -> None:
    report = await make(settings=SECRET).process_batch([docs], "b")
    keys = Keyring.of(SECRET)
    for ask in (
        lambda: Batch.open(state, "b"),
        lambda: Searcher("b", state),
        lambda: verify("b", state),
        lambda: Recording(state, "b"),
    ):
        with pytest.raises(BatchKeyError):
            ask()
    with Batch.open(state, "b", keys=keys) as batch:
        assert batch.keys is keys
        assert batch.cipher is not None
        assert batch.status()["status"] == "finished"
        assert batch.manifest.embedder == "hashing"
        assert len([e for e in batch.events() if isinstance(e, DocSettled)]) == 12
        assert [Path(f.doc_id).name for f in batch.failures()] == ["broken.json", "empty.txt"]
        assert Path(batch.search("subject 111", 1)[0].doc_id).name == "d3.txt"
        result = batch.verify()
        assert (result.is_clean, result.chunks) == (True, report["chunks"]), result.faults
        forked = batch.fork(8, "fork")
    assert Batch.open(state, "fork", keys).state == forked
    assert verify("b", state, keys).is_clean
    assert verify("fork", state, keys).is_clean
    recording = Recording(state, "b", keys)
    assert recording.seek(len(recording)).processed_docs == 10
    recording.fork(9, "fork2")
    assert verify("fork2", state, keys).is_clean
    searcher = Searcher("b", state, keys=keys)
    assert Path(searcher.search("subject 111", 1)[0].doc_id).name == "d3.txt"
    searcher.close()


async def test_other_keys_by_hand_rotate_it(docs: Path, state: Path, make: Make) -> None:
    await make(settings=SECRET).process_batch([docs], "b")
    (name,) = (key for key in [Keyring.of(SECRET).current] if key)
    both = Keyring({"new": b"\x11" * 32, name: b"\x5a" * 32})
    with Batch.open(state, "b", both) as batch:
        assert batch.rekey() == "new"
        assert batch.verify().is_clean  # of what it was written as
    with pytest.raises(BatchKeyError):
        Batch.open(state, "b", Keyring.of(SECRET))
    assert verify("b", state, Keyring({"new": b"\x11" * 32})).is_clean


OPENS = """
import json, sys
from pathlib import Path
from lesson15 import Batch, Searcher, Recording, verify
from lesson15.checkpoint.manager import CheckpointManager

state, what = sys.argv[1:]
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
{
    "status": lambda: Batch.open(state, "b").status(),
    "list": lambda: CheckpointManager(state).try_open("b").status(),
    "failures": lambda: Batch.open(state, "b").failures(),
    "verify": lambda: verify("b", state),
    "search": lambda: Searcher("b", state).search("subject 111", 1),
    "recording": lambda: Recording(state, "b"),
    "all of a batch": lambda: [
        (batch.status(), batch.failures(), batch.search("x"), batch.verify(), list(batch.events()))
        for batch in [Batch.open(state, "b")]
    ],
}[what]()
print(json.dumps([Path(path).name for path in opened if Path(path).name.endswith(".json")]))
"""


@pytest.mark.parametrize(
    "what", ["status", "list", "failures", "verify", "search", "recording", "all of a batch"]
)
def test_the_checkpoint_is_read_once(docs: Path, state: Path, what: str) -> None:
    lesson15.run([docs], "b", state_dir=state, embedder="hashing", settings=Settings(retry_delay=0))
    done = subprocess.run(
        [sys.executable, "-c", OPENS, state, what], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    opened = Counter(json.loads(done.stdout))
    assert opened["checkpoint.json"] == 1
    assert opened["manifest.json"] <= 1


@contextmanager
def another(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process of :mod:`tests.other_process`, killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.other_process", *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def tell(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
async def rekeyed(docs: Path, state: Path, make: Make) -> Keyring:
    """The keys of a batch that has been rekeyed once, to "new"."""
    await make(settings=SECRET).process_batch([docs], "b")
    first = str(Keyring.of(SECRET).current)
    Batch.open(state, "b", Keyring({"new": NEW, first: b"\x5a" * 32})).rekey()
    return Keyring({"old": OLD, "new": NEW})


@pytest.mark.timeout(1800 if IS_FULL else 600)
def test_reads_beside_rekeys(state: Path, rekeyed: Keyring) -> None:
    """None takes the batch for damaged, or mixes two generations."""
    reads, rekeys = (10_000, 40) if IS_FULL else (2000, 10)
    seen: Counter[int] = Counter()
    with another("rotate", state) as other:
        while seen.total() < reads or len(seen) <= rekeys:
            assert other.poll() is None, "the other process ended"
            batch = Batch.open(state, "b", rekeyed)
            status = batch.status()
            assert (status["status"], status["processed_docs"]) == ("finished", 10)
            seen[batch.commit.generation] += 1
    assert verify("b", state, rekeyed).is_clean  # the last one was killed at any moment


@pytest.mark.timeout(600)
def test_other_questions_beside_rekeys(state: Path, rekeyed: Keyring) -> None:
    """A batch that was opened before is followed to its next generation."""
    asked: Counter[str] = Counter()
    generations: set[int] = set()
    recording = Recording(state, "b", rekeyed)
    count = len(recording)
    questions: dict[str, Callable[[Batch], bool]] = {
        "manifest": lambda batch: batch.manifest.embedder == "hashing",
        "failures": lambda batch: len(batch.failures()) == 2,
        "events": lambda batch: sum(isinstance(e, DocSettled) for e in batch.events()) == 12,
        "search": lambda batch: batch.search("subject 111", 1)[0].doc_id.endswith("d3.txt"),
        "fork": lambda batch: batch.fork(count, f"fork{asked.total()}").processed_docs == 10,
        "record": lambda batch: len(Recording(state, "b", rekeyed)) == count,
        "seek": lambda batch: recording.seek(count).processed_docs == 10,
        "documents": lambda batch: len(recording.documents(random.choice([0, count]))) in (0, 12),
        "fork a record": lambda batch: (
            recording.fork(count, f"fork{asked.total()}").processed_docs == 10
        ),
    }
    with another("rotate", state) as other:
        while len(generations) < 20 or len(asked) < len(questions):
            assert other.poll() is None, "the other process ended"
            with Batch.open(state, "b", rekeyed) as batch:
                generations.add(batch.commit.generation)
                time.sleep(random.random() * 0.1)  # in which it is rekeyed, or not
                for name in random.sample(sorted(questions), 2):
                    assert questions[name](batch), name
                    asked[name] += 1
    assert list(recording.events(3, 5)) == list(recording.events())[3:5]
    assert len(recording) == count


def test_removing_what_is_read(tmp_path: Path) -> None:
    """SQLite makes files beside a table that is read, at any moment, also of the removal."""
    folder, ended = tmp_path / "generation-1", threading.Event()

    def reads() -> None:
        while not ended.is_set():
            with suppress(OSError):
                (folder / "catalog.sqlite-shm").touch()

    reader = threading.Thread(target=reads)
    reader.start()
    try:
        for _ in range(200):
            folder.mkdir()
            for number in range(20):
                (folder / str(number)).touch()
            remove_folder(folder)
            assert not list(tmp_path.iterdir())
    finally:
        ended.set()
        reader.join()


def test_removing_again_after_a_kill(tmp_path: Path) -> None:
    folder = tmp_path / "generation-1"
    for name in ("generation-1", "generation-1.removed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "journal").touch()
    remove_folder(folder)
    assert not list(tmp_path.iterdir())


# --- beside the recovery of another process -----------------------------------------------------


def reach(state: Path, batch_id: str = "b") -> tuple[set[str], bool]:
    """The documents that a search can reach, and whether another process held the batch then."""
    batch = CheckpointManager(state).open(batch_id)
    searcher = Searcher.of(batch, Tiny())
    try:
        return {hit.doc_id for hit in searcher.search("This is anything.", 20_000)}, batch.is_live
    finally:
        searcher.close()


def commits_of(state: Path) -> tuple[list[str], set[int]]:
    """The documents in the order in which they were settled, and how many each commit had."""
    settled: list[str] = []
    counts = {0}
    for event in Batch.open(state, "b").events():
        if isinstance(event, DocSettled):
            settled.append(event.doc_id)
        elif isinstance(event, Committed):
            counts.add(len(settled))
    return settled, counts


KILLS, TRIES_A_KILL = 4, 5
DOCUMENTS = 5000


@pytest.fixture(scope="module")
def killed_batches(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """State folders with a batch of 5,000 documents that was killed in a resume."""
    root = tmp_path_factory.mktemp("killed")
    lesson15.run(
        other_process.names(DOCUMENTS), "b", state_dir=root / "whole", embedder=Tiny(),
        work=other_process.work, checkpoint_interval=100,
    )  # fmt: skip
    states = []
    for number in range(KILLS):
        state = root / str(number)
        shutil.copytree(root / "whole", state)
        with another("resume", state, 10**6) as process:
            checkpoint, deadline = state / "b" / "checkpoint.json", time.monotonic() + 120
            before = checkpoint.stat().st_mtime_ns
            while checkpoint.stat().st_mtime_ns == before:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.001)
            time.sleep(random.random() * 0.1)
            process.send_signal(signal.SIGKILL)
        found = CheckpointManager(state).open("b")
        assert found.state.settled_docs > DOCUMENTS
        assert not found.is_live
        states.append(state)
    return states


@pytest.mark.timeout(1200)
def test_searches_beside_a_recovery_see_one_commit(
    tmp_path: Path, killed_batches: list[Path]
) -> None:
    """The catalogue is made anew then, and the index is behind: half of either is no answer."""
    beside = 0
    with another("recover") as process:
        for number in range(KILLS * TRIES_A_KILL):
            state = tmp_path / str(number)
            shutil.copytree(killed_batches[number % KILLS], state)
            killed_at = len(commits_of(state)[0])
            tell(process, f"{state} {killed_at + 1000}")
            assert hear(process) == "begins"
            time.sleep(number * 0.01)
            seen: list[set[str]] = []
            while sum(map(bool, seen)) < 3:
                found, is_live = reach(state)
                seen.append(found)
                beside += is_live
            tell(process, "go on")
            assert hear(process) == "holds"
            assert hear(process) == "ended"
            seen.append(reach(state)[0])
            settled, counts = commits_of(state)
            assert len(settled) == killed_at + 1000
            for found in seen:
                assert len(found) in counts
                wanted = set(settled[: len(found)])
                more, less = sorted(found - wanted), sorted(wanted - found)
                assert (more, less) == ([], []), (len(found), killed_at)
                assert len(found) >= killed_at  # what was committed before is never gone
            assert len(seen[-1]) == killed_at + 1000
            assert verify("b", state).is_clean
            shutil.rmtree(state)
    assert beside >= KILLS * TRIES_A_KILL


async def test_a_catalogue_that_lags_is_waited_for_or_made_anew(
    docs: Path, state: Path, make: Make, tmp_path: Path
) -> None:
    """Somebody was killed before the catalogue had the last commit, and the next one recovers."""
    await make().process_batch([docs], "b")
    shutil.copy(state / "b" / "catalog.sqlite", tmp_path)
    (docs / "late.txt").write_text("This came later.")
    await make().process_batch([docs], "b", resume=True)
    current = (state / "b" / "catalog.sqlite").read_bytes()
    shutil.copy(tmp_path / "catalog.sqlite", state / "b")
    manager = CheckpointManager(state)
    with batch_lock(manager.folder("b")):
        with closing(Catalog.snapshot(manager.open("b"))) as catalog:
            assert len(list(catalog.scan())) == 13
        timer = threading.Timer(0.05, (state / "b" / "catalog.sqlite").write_bytes, [current])
        timer.start()
        with closing(Catalog.snapshot(manager.open("b"))) as catalog:
            assert len(list(catalog.scan())) == 13
        timer.join()


async def test_a_search_sees_all_of_a_commit_that_is_later_than_the_checkpoint_it_read(
    docs: Path, state: Path, make: Make
) -> None:
    await make().process_batch([docs], "b")
    manager = CheckpointManager(state)
    before = replace(manager.open("b"), is_live=True)
    (docs / "late.txt").write_text("This came later.")
    await make().process_batch([docs], "b", resume=True)
    searcher = Searcher.of(before)
    assert len(searcher.search("anything", 1000)) == manager.open("b").state.chunks
    searcher.close()


# --- where nobody can write -----------------------------------------------------------------------

LOOK = """
import json, os, sys
from pathlib import Path
from lesson15 import Batch, CheckpointManager, Recording, Searcher, verify

def look(state):
    found = {"ids": CheckpointManager(state).list_checkpoints()}
    for batch_id in found["ids"]:
        with Batch.open(state, batch_id) as batch:
            recording = Recording(state, batch_id)
            searcher = Searcher(batch_id, state)
            found[batch_id] = [
                batch.status(),
                verify(batch_id, state).to_dict(),
                batch.verify().to_dict(),
                [hit.doc_id for hit in batch.search("subject 111", 3)],
                [hit.doc_id for hit in searcher.search("subject 111", 3)],
                [failure.doc_id for failure in batch.failures()],
                recording.seek(len(recording)).to_dict(),
            ]
            searcher.close()
    return found

writable, read_only = sys.argv[1:3]
look(writable)  # which loads every module that another user may not be able to read
if os.geteuid() == 0 and "as nobody" in sys.argv:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    (Path(read_only) / "b" / "lock").open("ab").close()
except OSError:
    print(json.dumps(look(read_only)))
"""


def without_rights(command: list[object], state: Path) -> list[object]:
    """``command``, where no folder lets it write."""
    for path in [state, *state.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return [*command, "as nobody"]


def on_a_read_only_mount(command: list[object], state: Path) -> list[object]:
    """``command``, where ``state`` is mounted read-only, for it alone."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    unshare = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, state]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    return [*unshare, *command]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user can look into, unlike pytest's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("restrict", [without_rights, on_a_read_only_mount])
async def test_a_read_only_copy_is_read(
    docs: Path, state: Path, make: Make, open_folder: Path, restrict: Callable[..., list[object]]
) -> None:
    """Whole, or killed with its catalogue behind and its index lost; nothing in it changes."""
    await make().process_batch([docs], "b")
    await make().process_batch([docs], "killed")
    await make(store="chroma").process_batch([docs], "chroma")
    for name in ("index.faiss", "catalog.sqlite.crc", "lock"):
        (state / "killed" / name).unlink()
    copy = open_folder / "copy"
    shutil.copytree(state, copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    command = restrict([sys.executable, "-c", LOOK, state, copy], copy)
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout, "it could write"
    found = json.loads(done.stdout)
    assert found.pop("ids") == ["b", "chroma", "killed"]
    for batch_id, answers in found.items():
        status, verified, again, hits, same, failures, last = answers
        assert (status["status"], status["processed_docs"]) == ("finished", 10)
        assert verified == again
        assert (verified["documents"], verified["journal_records"] > 12) == (12, True)
        if batch_id == "killed":
            assert len(verified["faults"]) == 1
            assert "the index" in verified["faults"][0]
        elif batch_id == "b":
            assert (verified["ok"], verified["index"]) == (True, "current"), verified["faults"]
        assert (Path(hits[0]).name, hits) == ("d3.txt", same)
        assert [Path(failure).name for failure in failures] == ["broken.json", "empty.txt"]
        assert last["processed_docs"] == 10
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
