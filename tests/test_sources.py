"""What cannot be seen is not deleted: sources that are missing, unreadable, broken or half gone."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lesson15 import BatchProcessor, CheckpointManager, verify
from lesson15.engine.feed import known_total
from lesson15.engine.sources import Presence, look
from lesson15.errors import SourcesLostError, SourcesMissingError
from lesson15.models import ScanRules

Make = Callable[..., BatchProcessor]
ROOT = Path(__file__).parent.parent
NOT_THE_BATCH = {"lock", "owner.json"}


def files_of(state: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in (state / "b").iterdir()
        if path.is_file() and path.name not in NOT_THE_BATCH
    }


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """60 documents in three folders."""
    folder = tmp_path / "many"
    for number in range(60):
        place = folder / f"part{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.txt").write_text(f"Document {number} is about subject {number}.")
    return folder


def take_away(docs: Path) -> None:
    docs.rename(docs.with_name("away"))


def empty(docs: Path) -> None:
    take_away(docs)
    docs.mkdir()


def make_a_file(docs: Path) -> None:
    take_away(docs)
    docs.write_text("not a folder any more")


def leave_a_broken_link(docs: Path) -> None:
    take_away(docs)
    docs.symlink_to("unmounted")


def delete_a_fifth(docs: Path) -> None:
    for number in range(12):
        (docs / f"part{number % 3}" / f"{number}.txt").unlink()


def delete_a_folder(docs: Path) -> None:
    for path in (docs / "part1").iterdir():
        path.unlink()
    (docs / "part1").rmdir()


@pytest.mark.parametrize(
    ("accident", "said"),
    [
        (take_away, "many is missing .60 documents"),
        (empty, "all of 60 documents below .*many are gone"),
        (make_a_file, "all of 60 documents below .*many are gone"),
        (leave_a_broken_link, "many cannot be seen .60 documents"),
        (delete_a_fifth, "12 of 60 documents are gone below .*many"),
        (delete_a_folder, "20 of 60 documents are gone below .*many"),
    ],
)
@pytest.mark.parametrize("call", ["resume_batch", "process_batch"])
async def test_an_accident_changes_nothing_and_prune_allows_it(
    many: Path, state: Path, make: Make, accident: Callable[[Path], None], said: str, call: str
) -> None:
    await make().process_batch([many], "b")
    before = files_of(state)
    accident(many)

    async def go_on(**options: Any) -> dict[str, Any]:
        if call == "resume_batch":
            return await make().resume_batch("b", **options)
        return await make().process_batch([many], "b", resume=True, **options)

    with pytest.raises(SourcesMissingError, match=said) as refusal:
        await go_on()
    assert "lesson15 resume b --prune" in str(refusal.value)
    assert files_of(state) == before
    assert verify("b", state).is_clean
    report = await go_on(prune=True)
    left = sum(1 for path in many.rglob("*.txt")) if many.is_dir() else 0
    assert report["processed_docs"] == left
    assert report["run"]["dropped"] == 60 - left
    assert verify("b", state).is_clean
    again = await make().resume_batch("b", prune=True)
    assert (again["processed_docs"], again["run"]["dropped"]) == (left, 0)


async def test_a_source_that_comes_back_is_as_it_was(many: Path, state: Path, make: Make) -> None:
    first = await make().process_batch([many], "b")
    take_away(many)
    with pytest.raises(SourcesMissingError):
        await make().resume_batch("b")
    many.with_name("away").rename(many)
    report = await make().resume_batch("b")
    assert report["chunks"] == first["chunks"]
    assert report["run"]["unchanged"] == 60


async def test_a_missing_source_of_a_batch_that_settled_nothing(
    many: Path, state: Path, make: Make
) -> None:
    """A run that was killed at once, say: "finished, 0 of 0" would be a lie."""
    processor = make()
    processor.create("b", [many])
    take_away(many)
    with pytest.raises(SourcesMissingError, match="many is missing"):
        await make().resume_batch("b")


async def process_and_delete(
    folder: Path, processor: BatchProcessor, count: int, deleted: int
) -> None:
    """Process ``count`` documents as the batch b, then delete some of them."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.txt").write_text(f"words {number}")
    await processor.process_batch([folder], "b")
    for number in range(deleted):
        (folder / f"{number}.txt").unlink()


@pytest.mark.parametrize(("count", "deleted"), [(3, 1), (3, 2), (8, 5), (60, 6), (100, 10)])
async def test_what_is_deleted_by_hand_leaves_the_index(
    tmp_path: Path, state: Path, make: Make, count: int, deleted: int
) -> None:
    """At most five, or at most a tenth, and not all."""
    await process_and_delete(tmp_path / "docs", make(), count, deleted)
    report = await make().resume_batch("b")
    assert report["total_docs"] == count - deleted
    assert (report["run"]["dropped"], report["run"]["unchanged"]) == (deleted, count - deleted)
    assert verify("b", state).is_clean


async def test_files_that_were_emptied_look_like_an_accident(
    many: Path, state: Path, make: Make
) -> None:
    """A full disk, or a share that is half away, leaves files without a byte."""
    await make().process_batch([many], "b")
    before = files_of(state)
    paths = sorted(many.rglob("*.txt"))
    for path in paths[:7]:
        path.write_bytes(b"")
    with pytest.raises(SourcesMissingError, match="7 of 60 documents are empty now, such as"):
        await make().resume_batch("b")
    assert files_of(state) == before
    report = await make().resume_batch("b", prune=True)
    assert (report["processed_docs"], report["failed_docs"]) == (53, 7)
    for path in paths[7:12]:  # as many as one may empty by hand
        path.write_bytes(b"")
    report = await make().resume_batch("b")
    assert (report["processed_docs"], report["failed_docs"]) == (48, 12)


@pytest.mark.parametrize(("count", "deleted"), [(1, 1), (3, 3), (8, 6), (60, 7), (100, 11)])
async def test_more_than_that_is_refused(
    tmp_path: Path, state: Path, make: Make, count: int, deleted: int
) -> None:
    await process_and_delete(tmp_path / "docs", make(), count, deleted)
    with pytest.raises(SourcesMissingError):
        await make().resume_batch("b")
    assert CheckpointManager(state).open("b").state.processed_docs == count


async def test_one_of_two_sources_is_missing(
    docs: Path, many: Path, state: Path, make: Make
) -> None:
    await make().process_batch([docs, many], "b")
    docs.rename(docs.with_name("away"))
    with pytest.raises(SourcesMissingError, match=r"docs is missing \(10 documents\)"):
        await make().resume_batch("b")
    report = await make().resume_batch("b", prune=True)
    assert (report["total_docs"], report["failed_docs"], report["skipped_docs"]) == (60, 0, 0)
    assert verify("b", state).is_clean


async def test_files_named_one_by_one(docs: Path, state: Path, make: Make) -> None:
    paths = [docs / f"d{number}.txt" for number in range(10)]
    await make().process_batch(paths, "b")
    paths[3].unlink()
    report = await make().resume_batch("b")
    assert (report["total_docs"], report["run"]["dropped"]) == (9, 1)
    docs.rename(docs.with_name("away"))
    with pytest.raises(SourcesMissingError, match=r"docs is missing \(9 documents\)"):
        await make().resume_batch("b")


async def test_the_dead_letter_list_of_a_missing_source_stays(
    docs: Path, state: Path, make: Make
) -> None:
    await make().process_batch([docs], "b")
    docs.rename(docs.with_name("away"))
    with pytest.raises(SourcesMissingError, match=r"docs is missing \(2 documents\)"):
        await make().retry_failed("b")
    assert CheckpointManager(state).open("b").state.failed_docs == 2


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Names of files whose ``stat`` fails, and the error."""
    errors: dict[str, int] = {}
    real = os.stat

    def stat(path: Any, *args: Any, **options: Any) -> os.stat_result:
        name = Path(path).name if isinstance(path, str) else ""
        if name in errors:
            raise OSError(errors[name], os.strerror(errors[name]), path)
        return real(path, *args, **options)

    monkeypatch.setattr(os, "stat", stat)
    yield errors
    errors.clear()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ELOOP])
async def test_files_that_cannot_be_seen_are_kept_and_reported(
    many: Path, state: Path, make: Make, broken: dict[str, int], number: int
) -> None:
    first = await make().process_batch([many], "b")
    broken |= {f"{n}.txt": number for n in (3, 4, 5, 6)}
    report = await make().resume_batch("b")
    assert (report["processed_docs"], report["chunks"]) == (60, first["chunks"])
    assert (report["run"]["hidden"], report["run"]["unchanged"]) == (4, 56)
    assert report["run"]["dropped"] == report["run"]["failed"] == 0
    pruned = await make().resume_batch("b", prune=True)
    assert (pruned["processed_docs"], pruned["run"]["hidden"]) == (60, 4)
    broken.clear()
    assert (await make().resume_batch("b"))["run"]["hidden"] == 0
    assert verify("b", state).is_clean


async def test_a_disk_that_shows_little_is_refused(
    many: Path, state: Path, make: Make, broken: dict[str, int]
) -> None:
    await make().process_batch([many], "b")
    before = files_of(state)
    broken |= {f"{n}.txt": errno.EIO for n in range(20)}
    with pytest.raises(SourcesMissingError, match="20 of 60 documents cannot be seen, such as"):
        await make().resume_batch("b")
    assert files_of(state) == before
    report = await make().resume_batch("b", prune=True)
    assert (report["processed_docs"], report["run"]["hidden"]) == (60, 20)


async def test_a_link_whose_target_is_away_hides_its_document(
    many: Path, tmp_path: Path, state: Path, make: Make
) -> None:
    target = tmp_path / "store.txt"
    target.write_text("kept elsewhere")
    (many / "link.txt").symlink_to(target)
    await make().process_batch([many], "b")
    target.unlink()
    assert look(str(many / "link.txt")) is Presence.HIDDEN
    report = await make().resume_batch("b")
    assert (report["processed_docs"], report["run"]["hidden"]) == (61, 1)


async def test_a_source_that_goes_while_the_batch_runs(many: Path, state: Path, make: Make) -> None:
    """What was deleted before is not dropped together with what went away since."""
    await make().process_batch([many], "b")
    (many / "part0" / "0.txt").unlink()
    (many / "part1" / "1.txt").write_text("changed")
    processor = make()
    processor.result_callbacks.append(lambda result: take_away(many))
    with pytest.raises(SourcesLostError, match="many is missing"):
        await processor.resume_batch("b")
    assert CheckpointManager(state).open("b").state.processed_docs == 60
    many.with_name("away").rename(many)
    report = await make().resume_batch("b")
    assert (report["processed_docs"], report["run"]["dropped"]) == (59, 1)
    assert verify("b", state).is_clean


WITHOUT_OVERRIDE = [
    "setpriv",
    "--inh-caps=-dac_override,-dac_read_search",
    "--bounding-set=-dac_override,-dac_read_search",
]
"""Runs a command of root that permissions hold for, as they do for everybody else."""


def may_drop_capabilities() -> bool:
    try:
        done = subprocess.run([*WITHOUT_OVERRIDE, "true"], capture_output=True, check=False)
    except OSError:
        return False
    return os.getuid() == 0 and done.returncode == 0


@pytest.mark.skipif(not may_drop_capabilities(), reason="needs root, to become less than root")
class TestPermissions:
    """The real thing: a process that may not enter folders, or not read files."""

    @pytest.fixture
    def resume(self, state: Path) -> Callable[..., tuple[int, dict[str, Any], str]]:
        def resume(*options: str) -> tuple[int, dict[str, Any], str]:
            command = [sys.executable, "-m", "lesson15.cli", "resume", "b", "--state-dir", state]
            done = subprocess.run(
                [*WITHOUT_OVERRIDE, *command, "--json", *options],
                capture_output=True, text=True, timeout=250, cwd=ROOT, check=False,
                env={**os.environ, "LESSON15_RETRY_DELAY": "0"},
            )  # fmt: skip
            report = json.loads(done.stdout) if done.stdout else {}
            return done.returncode, report, done.stderr

        return resume

    async def test_folders(
        self, many: Path, state: Path, make: Make, resume: Callable[..., Any]
    ) -> None:
        await make().process_batch([many], "b")
        before = files_of(state)
        for closed in (many, many / "part1"):
            for mode in (0o000, 0o444):
                closed.chmod(mode)
                code, _, refused = resume()
                assert code == 2
                assert "part1 cannot be read (Permission denied) (20 documents)" in refused
            closed.chmod(0o755 if closed == many else mode)
        assert files_of(state) == before
        code, report, _ = resume("--prune")
        assert (code, report["processed_docs"]) == (0, 40)
        (many / "part1").chmod(0o755)
        code, report, _ = resume()
        assert (code, report["processed_docs"], report["run"]["new"]) == (0, 60, 20)

    async def test_a_folder_that_may_be_entered_but_not_listed(
        self, many: Path, state: Path, make: Make, resume: Callable[..., Any]
    ) -> None:
        await make().process_batch([many], "b")
        (many / "part1").chmod(0o111)
        code, report, _ = resume()
        assert (code, report["processed_docs"], report["failed_docs"]) == (1, 60, 1)
        (many / "part1").chmod(0o755)
        assert resume()[0] == 0

    async def test_a_file(
        self, many: Path, state: Path, make: Make, resume: Callable[..., Any]
    ) -> None:
        first = await make().process_batch([many], "b")
        (many / "part0" / "3.txt").chmod(0o000)
        code, report, _ = resume()
        assert (code, report["processed_docs"], report["failures"]) == (1, 60, [])
        assert (report["run"]["hidden"], report["chunks"]) == (1, first["chunks"])

    async def test_a_link_into_a_closed_folder_fails_by_name(
        self, many: Path, tmp_path: Path, state: Path, make: Make, resume: Callable[..., Any]
    ) -> None:
        closed = tmp_path / "closed"
        (closed / "below").mkdir(parents=True)
        (closed / "below" / "x.txt").write_text("words")
        await make().process_batch([many], "b")
        (many / "link.txt").symlink_to(closed / "below" / "x.txt")
        (many / "folder").symlink_to(closed / "below")
        closed.chmod(0o000)
        code, report, errors = resume()
        closed.chmod(0o755)
        assert (code, report["processed_docs"], report["failed_docs"]) == (1, 60, 1), errors
        assert "link.txt: the file cannot be read (Permission" in report["failures"][0]["error"]


def test_a_share_that_is_unmounted(many: Path, state: Path, tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    mounted = subprocess.run(["mount", "--bind", many, share], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("may not mount here")
    command = [sys.executable, "-m", "lesson15.cli"]
    at = ["--state-dir", state, "--json"]
    try:
        subprocess.run(
            [*command, "run", share, "--batch-id", "b", "--embedder", "hashing", *at],
            capture_output=True, timeout=250, cwd=ROOT, check=True,
        )  # fmt: skip
    finally:
        subprocess.run(["umount", share], check=True)
    before = files_of(state)
    resume = [*command, "resume", "b", *at]
    done = subprocess.run(
        resume, capture_output=True, text=True, timeout=250, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "all of 60 documents" in done.stderr
    assert files_of(state) == before
    done = subprocess.run(
        [*resume, "--prune"], capture_output=True, text=True, timeout=250, cwd=ROOT, check=False
    )
    assert (done.returncode, json.loads(done.stdout)["processed_docs"]) == (0, 0)


def test_the_total_is_known_or_it_is_not(docs: Path) -> None:
    rules = ScanRules()
    assert known_total([docs], rules, reads_files=True) == 0
    assert known_total([docs / "d1.txt"], rules, reads_files=True) == 1
    assert known_total(["a", "b"], rules, reads_files=False) == 2
    assert known_total(iter(["a"]), rules, reads_files=False) == 0


async def test_a_path_that_cannot_be_a_files_fails_alone(docs: Path, make: Any) -> None:
    """As `find -print0` gives, when the list is not said to be separated by NUL."""
    report = await make().process_batch([docs / "d0.txt", f"{docs}/d1.txt\0more.txt"], "b")
    assert (report["processed_docs"], report["failed_docs"]) == (1, 1)
