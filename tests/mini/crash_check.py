"""Runs of ``mini.py`` over a recorded disk, and the check of every crash that they may suffer."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lesson15.crashlab.disk import Content, Crash
from tests.crash.recovery_check import digest, put
from tests.mini.recording import SOURCE, Recorder, load_mini

Outcomes = dict[str, tuple[str, Any, str | None]]
"""Document -> hash of its content, result, error."""


def count_letters(content: bytes) -> dict[str, int]:
    if b"poison" in content:
        raise ValueError(f"poison in {len(content)} bytes")
    return dict(sorted(Counter(content.decode().replace(" ", "")).items())[:3])


def expected_outcome(content: bytes) -> tuple[str, Any, str | None]:
    content_hash = hashlib.sha256(content).hexdigest()
    try:
        return content_hash, count_letters(content), None
    except ValueError as error:
        return content_hash, None, repr(error)


def plain(outcomes: dict[str, Any]) -> Outcomes:
    return {name: (each.content_hash, each.result, each.error) for name, each in outcomes.items()}


def committed_in(batch: Any) -> Outcomes:
    return plain(batch.load()[1])


def found_in(folder: Path) -> Content | None:
    """What ``folder`` holds; None: there is no such folder."""
    if not folder.is_dir():
        return None
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def restore(content: Content | None, folder: Path) -> None:
    """Make ``content`` all that ``folder`` holds; None: remove it."""
    if content is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        put(content, folder)


def key_of(content: Content | None) -> bytes:
    return b"no folder" if content is None else digest(content)


def settled(documents: dict[str, bytes], outcomes: Outcomes) -> set[str]:
    """The documents that need no more work."""
    return {
        name
        for name, content in documents.items()
        if name in outcomes and outcomes[name] == (*expected_outcome(content)[:2], None)
    }


class Lab:
    """Documents, and a batch over them by ``source``, whose disk is recorded.

    ``history[n]`` is what commit ``n`` covers, begun or done; 0: nothing is committed.
    """

    def __init__(self, folder: Path, source: str = SOURCE) -> None:
        self.docs, self.root, self.source = folder / "docs", folder / "batch", source
        self.docs.mkdir()
        self.documents: dict[str, bytes] = {}
        for number in range(5):
            self.write(f"d{number}", f"Document {number} tells of subject {number * 37}.")
        self.write("bad", "This is poison.")
        self.recorder = Recorder(self.root)
        self.history: list[Outcomes] = [{}]

    def write(self, name: str, text: str) -> None:
        path = self.docs / name
        path.write_text(text, encoding="utf-8")
        self.documents[str(path)] = text.encode()

    def expected(self) -> Outcomes:
        return {name: expected_outcome(content) for name, content in self.documents.items()}

    def run(self, commit_every: int, crash_at: int | None = None) -> None:
        """Run, or go on, and record only that; ``crash_at``: until that operation."""
        recorder, history = self.recorder, self.history
        recorder.moments.clear()
        recorder.crash_at = crash_at
        module = recorder.load_mini(self.source)
        names = {content: name for name, content in self.documents.items()}
        state = committed_in(module.MiniBatch(self.root))
        del history[max(at for at, commit in enumerate(history) if commit == state) + 1 :]

        def work(content: bytes) -> object:
            state[names[content]] = expected_outcome(content)
            return count_letters(content)

        class WatchedBatch(module.MiniBatch):  # type: ignore[misc, name-defined]
            def commit(self, journal: Any) -> None:
                history.append(dict(state))
                super().commit(journal)
                recorder.promised = len(history) - 1

        batch = WatchedBatch(self.root)
        if crash_at is None:
            outcomes = plain(batch.run(self.documents, work, commit_every))
            assert outcomes == state, "other outcomes than those of the work"
            recorder.step()  # and after the last operation
        else:
            with pytest.raises(Crash):
                batch.run(self.documents, work, commit_every)
        visible = {name: inode.content for name, inode in recorder.disk.names.items()}
        assert visible == (found_in(self.root) or {}), "something went past the recorder"

    def power_cut(self, crash_at: int, commit_every: int) -> Content:
        """Run until the power goes before that operation; gives what it left, which is all."""
        self.run(commit_every, crash_at)
        content = found_in(self.root)
        assert content is not None
        self.recorder.start_from(content)
        return content


Scenario = Callable[[Lab, int], None]


def first_run(lab: Lab, commit_every: int) -> None:
    lab.run(commit_every)


def changed_documents(lab: Lab, commit_every: int) -> None:
    lab.run(3)
    lab.write("d1", "Now of volcanoes and of much else.")
    lab.write("d4", "Poisonous no more, but with poison.")
    lab.write("bad", "Good now.")
    lab.write("new", "Words that were not there.")
    lab.run(commit_every)


def power_cut_before(lab: Lab, commit_every: int) -> None:
    """The run goes on from a power cut that left a tail in the journal that does not count."""
    lab.power_cut(IN_THE_SECOND_COMMIT, 2)
    lab.run(commit_every)


def torn_tail_before(lab: Lab, commit_every: int) -> None:
    """As before; the tail is torn, and the documents in it have changed since."""
    content = lab.power_cut(IN_THE_SECOND_COMMIT, 2)
    content["journal"] = content["journal"][:-20]
    put(content, lab.root)
    lab.recorder.start_from(content)
    lab.write("d2", "Something else.")
    lab.write("d3", "Something else again.")
    lab.run(commit_every)


def killed_before(lab: Lab, commit_every: int) -> None:
    """The run goes on from a kill of the process: what it wrote is seen, and still not flushed."""
    lab.run(2, IN_THE_SECOND_COMMIT)
    lab.run(commit_every)


def killed_in_its_first_steps(lab: Lab, commit_every: int) -> None:
    """As before, when not even the name of the folder is sure to survive."""
    lab.run(2, 2)
    lab.run(commit_every)


def nothing_to_do(lab: Lab, commit_every: int) -> None:
    (lab.docs / "bad").unlink()
    lab.documents.popitem()
    lab.run(3)
    lab.run(commit_every)


IN_THE_SECOND_COMMIT = 13
"""The operation before which the journal is written for the second time, but not flushed."""
SCENARIOS: list[tuple[Scenario, int, int]] = [
    (first_run, 1, 500),
    (first_run, 3, 500),
    (changed_documents, 1, 500),
    (changed_documents, 3, 500),
    (power_cut_before, 3, 500),
    (torn_tail_before, 3, 500),
    (killed_before, 1, 500),
    (killed_before, 3, 500),
    (killed_in_its_first_steps, 3, 500),
    (nothing_to_do, 3, 1),
]
"""With the documents a commit in the recorded run, and the distinct disks it gives at least."""


@dataclass
class Tally:
    """How many crash states were looked at, and how many distinct folders they are."""

    states: int
    distinct: int


class CrashCheck:
    """Restarts the batch of ``lab`` from any folder that a crash may leave."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.module = load_mini(lab.source)

    def recover(self, content: Content | None) -> int:
        """Restart from ``content``, with every check; gives the commit that was recovered."""
        lab = self.lab
        restore(content, lab.root)
        batch = self.module.MiniBatch(lab.root)
        found = committed_in(batch)
        assert found in lab.history, f"{len(found)} outcomes, which no commit covers"
        recovered = max(at for at, commit in enumerate(lab.history) if commit == found)

        open_documents = lab.documents.keys() - settled(lab.documents, found)
        assert self.run(batch) == sorted(open_documents), "not just what was open was done"
        assert committed_in(batch) == lab.expected(), "other outcomes than undisturbed"
        failures = [name for name, (_, _, error) in lab.expected().items() if error]
        assert self.run(batch) == sorted(failures), "a finished batch does not just its failures"
        self.check_journal()
        return recovered

    def run(self, batch: Any) -> list[str]:
        """Run the batch to its end; the documents that it worked on."""
        names = {content: name for name, content in self.lab.documents.items()}
        worked: list[str] = []

        def work(content: bytes) -> object:
            worked.append(names[content])
            return count_letters(content)

        batch.run(self.lab.documents, work, commit_every=4)
        return sorted(worked)

    def check_journal(self) -> None:
        """No result is there twice."""
        lines = (self.lab.root / "journal").read_bytes().splitlines()
        records = [json.loads(line[9:]) for line in lines]
        results = [(r["document"], r["content_hash"]) for r in records if r["error"] is None]
        assert len(results) == len(set(results)), "a result is twice in the journal"


def check_every_crash(lab: Lab, stride: int | None = None) -> Tally:
    """Check each folder that a crash at any moment of the recorded run may leave.

    Raises:
        AssertionError: one does not recover, with how it looked.
    """
    check = CrashCheck(lab)
    recovered: dict[bytes, int] = {}
    states = 0
    moments = lab.recorder.moments
    for at, moment in enumerate(moments):
        for content in moment.outcomes(stride):
            states += 1
            key = key_of(content)
            sizes = {name: len(data) for name, data in (content or {}).items()}
            where = f"crash before operation {at} of {len(moments)}, leaving {sizes}"
            if key not in recovered:
                try:
                    recovered[key] = check.recover(content)
                except Exception as error:
                    raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
            assert recovered[key] >= moment.promised, (
                f"{where}: commit {moment.promised} was promised, {recovered[key]} recovered"
            )
    return Tally(states, len(recovered))
