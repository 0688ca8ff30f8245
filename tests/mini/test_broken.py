"""``mini.py`` broken on purpose, one fault each: the check of every crash must catch them all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mini.crash_check import (
    Lab,
    Scenario,
    changed_documents,
    check_every_crash,
    first_run,
    power_cut_before,
)
from tests.mini.recording import SOURCE

FLUSH = "        journal.flush()\n"
FSYNC = "        os.fsync(journal)  # 1."
WRITE = 'checkpoint.write(seal({"committed_bytes": journal.tell()}))'
TEMPORARY = '        temporary = f"{self.checkpoint}.tmp"'
REPLACE = "        os.replace(temporary, self.checkpoint)"
CUT = "journal.truncate(committed_bytes)"
PROMISE = "        fsync_folder(self.folder)  # 4."
LAST_COMMIT = """            if uncommitted:
                self.commit(journal)
"""


@dataclass(frozen=True)
class Fault:
    """Each text of the source that is another one, what the check says, and where."""

    changes: dict[str, str]
    said: str
    scenario: Scenario = first_run

    def source(self) -> str:
        source = SOURCE
        for old, new in self.changes.items():
            assert source.count(old) == 1, f"{old!r} is there {source.count(old)} times"
            source = source.replace(old, new)
        return source


LOST = r"was promised|which no commit covers|is damaged"
BROKEN = {
    "journal without fsync": Fault({FSYNC: "        #"}, LOST),
    "journal flushed by nobody": Fault({FLUSH: ""}, LOST),
    "journal fsynced before it is flushed": Fault(
        {FLUSH: "", "yet.\n": "yet.\n" + FLUSH}, LOST
    ),
    "journal fsynced after the commit": Fault(
        {FSYNC: "        #", PROMISE: "        fsync_folder(self.folder); os.fsync(journal)  #"},
        LOST,
    ),
    "checkpoint before the journal": Fault(
        {FLUSH: "", FSYNC: "        #", PROMISE: f"{FLUSH}{FSYNC}\n{PROMISE}"}, LOST
    ),
    "checkpoint without fsync": Fault({"            os.fsync(checkpoint)": "            #"}, LOST),
    "checkpoint renamed before it is fsynced": Fault(
        {
            "            os.fsync(checkpoint)": "            #",
            PROMISE: '        with open(self.checkpoint, "ab") as it: os.fsync(it)\n' + PROMISE,
        },
        LOST,
    ),
    "checkpoint overwritten in place": Fault(
        {TEMPORARY: "        temporary = self.checkpoint", REPLACE: "        #"},
        LOST,
    ),
    "checkpoint added to what a crash left": Fault({'temporary, "wb"': 'temporary, "ab"'}, LOST),
    "rename without fsync of the folder": Fault({PROMISE: "        #"}, LOST),
    "new journal without fsync of the folder": Fault(
        {"            fsync_folder(self.folder)  # be on": "            #"},
        "FileNotFoundError.*journal",
    ),
    "new folder without fsync of its parent": Fault({"fsync_folder(self.folder.parent)": ""}, LOST),
    "tail not cut": Fault({CUT: ""}, "is damaged|twice"),
    "tail not cut, after a power cut": Fault(
        {CUT: ""}, "is damaged|twice", power_cut_before
    ),
    "journal emptied": Fault(
        {CUT: "journal.truncate(0)"}, "other outcomes", power_cut_before
    ),
    "tail believed": Fault({"journal.read(size)": "journal.read()"}, "other outcomes"),
    "one byte too many counted": Fault({"journal.tell()": "journal.tell() + 1"}, "is damaged"),
    "one byte too few counted": Fault({"journal.tell()": "journal.tell() - 1"}, "is damaged"),
    "last documents not committed": Fault({LAST_COMMIT: ""}, "other outcomes"),
    "commit without a checkpoint": Fault({WRITE: "pass"}, "is damaged"),
    "first outcome believed": Fault(
        {"return size, {outcome.document: outcome for outcome in outcomes}":
         "return size, {outcome.document: outcome for outcome in reversed(list(outcomes))}"},
        "other outcomes", changed_documents,
    ),
    "change of a document not seen": Fault(
        {"earlier.content_hash == content_hash and ": ""}, "not just what was open",
        changed_documents,
    ),
    "everything done again": Fault(
        {"                    continue\n": "                    pass\n"}, "not just its failures"
    ),
    "failures never tried again": Fault({" and not earlier.error": ""}, "not just its failures"),
}  # fmt: skip


def run_and_check(folder: Path, scenario: Scenario, source: str) -> None:
    lab = Lab(folder, source)
    scenario(lab, 2)
    assert check_every_crash(lab, stride=6).distinct > 100


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_mini_is_caught(memory_folder: Path, name: str) -> None:
    fault = BROKEN[name]
    source = fault.source()
    # By the check, or by the broken program's own checksums while the scenario still runs.
    with pytest.raises((AssertionError, ValueError), match=fault.said):
        run_and_check(memory_folder, fault.scenario, source)


@pytest.mark.parametrize("scenario", [first_run, changed_documents, power_cut_before])
def test_the_sound_mini_passes_the_same_check(memory_folder: Path, scenario: Scenario) -> None:
    run_and_check(memory_folder, scenario, SOURCE)
