"""Real kills: a process that runs ``mini.py`` is SIGKILLed at random moments, and started again."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from lesson15.mini import MiniBatch
from tests.mini.victim import TalkativeBatch, work

KILLS = 30
DOCUMENTS = 40
COMMIT_EVERY = 4


def run_victim(documents: Path, folder: Path, dice: random.Random | None) -> tuple[int, list[str]]:
    """Start the process, and kill it if there are ``dice``: some lines and a moment from there.

    Gives its exit code and all that it said.
    """
    command = [sys.executable, "-m", "tests.mini.victim", str(documents), str(folder)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        said: list[str] = []
        if dice is not None:
            wanted = dice.randrange(DOCUMENTS // 2)
            while len(said) < wanted and (line := process.stdout.readline()):
                said.append(line.rstrip("\n"))
            time.sleep(dice.uniform(0, 0.002))  # where the kill falls, not what is waited for
            process.kill()
        said += process.stdout.read().splitlines()
    return process.returncode, said


def test_killed_at_random_moments(tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    for number in range(DOCUMENTS):
        (documents / f"{number:02}.txt").write_text(f"document {number}")
    expected = TalkativeBatch(tmp_path / "whole").run(sorted(documents.iterdir()), work)

    dice, kills, batches, lost_work = random.Random(15), 0, 0, 0
    while kills < KILLS:
        batches += 1
        assert batches <= 2 * KILLS, "most runs end before the kill"
        folder, is_killed = tmp_path / f"batch{batches}", True
        promised: set[str] = set()
        while is_killed:
            code, said = run_victim(documents, folder, dice)
            is_killed = code == -9
            kills += is_killed
            worked: list[str] = []
            before = set(promised)
            for line in said:
                if line.startswith("worked"):
                    worked.append(line.removeprefix("worked "))
                elif line == "committed":
                    promised |= set(worked)
            assert not before & set(worked), "committed work was done again"
            assert len(worked) == len(set(worked))
            _, found = MiniBatch(folder).load()
            names = {Path(name).stem for name in found}
            assert {f"{int(each.split()[1]):02}" for each in promised} <= names
            assert (
                len(names) - len(promised) <= COMMIT_EVERY
            )  # committed, but killed before it said so
            promised = {f"document {int(name)}" for name in names}
            lost_work += len(set(worked) - promised)
            assert all(found[name] == expected[name] for name in found)
        assert code == 0
        assert found == expected
        journal = (folder / "journal").read_bytes()
        assert journal.count(b"\n") == DOCUMENTS
    print(f"{kills} kills of {batches} batches; {lost_work} documents were done again")
    assert lost_work > 0, "no kill fell between work and commit"
