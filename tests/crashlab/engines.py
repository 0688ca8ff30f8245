"""Small engines that keep many records, as students write them: right ones, and wrong ones.

Each source has ``work(folder, promise)``, which keeps the records 0 to 5, and ``recover(folder)``.
"""

from __future__ import annotations

from textwrap import dedent

HEAD = """
import json, os, struct, zlib
from os import fsync, replace
from pathlib import Path

RECORDS = [{"id": number, "text": f"words of document {number}"} for number in range(6)]

def sync_folder(folder):
    fd = os.open(folder, os.O_RDONLY)
    fsync(fd)
    os.close(fd)

def seal(record):
    data = json.dumps(record).encode()
    return b"%08x %s\\n" % (zlib.crc32(data), data)

def unseal(data):
    records, size = [], 0
    for line in data.splitlines(keepends=True):
        if line != b"%08x %s\\n" % (zlib.crc32(line[9:-1]), line[9:-1]):
            break
        records.append(json.loads(line[9:-1]))
        size += len(line)
    return records, size

def recover(folder):
    path = folder / "journal"
    return unseal(path.read_bytes())[0] if path.exists() else []
"""

JOURNAL = """
def work(folder, promise):
    with open(folder / "journal", "ab") as journal:
        sync_folder(folder)
        for record in RECORDS:
            journal.write(seal(record))
            journal.flush()
            fsync(journal.fileno())
            promise(record)
"""

BATCHED = """
def work(folder, promise):
    fd = os.open(folder / "journal", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    sync_folder(folder)
    for start in (0, 2, 4):
        for record in RECORDS[start:start + 2]:
            os.write(fd, seal(record))
        os.fdatasync(fd)
        for record in RECORDS[start:start + 2]:
            promise(record)
    os.close(fd)
"""

ONE_FILE_EACH = """
def recover(folder):
    done = folder / "done"
    if not done.exists():
        return []
    return [json.loads(path.read_text()) for path in done.iterdir() if path.suffix == ".json"]

def work(folder, promise):
    done = folder / "done"
    done.mkdir()
    sync_folder(folder)
    for record in RECORDS:
        path = done / f"{record['id']}.json"
        with open(path.with_suffix(".tmp"), "w") as file:
            json.dump(record, file)
            file.flush()
            fsync(file.fileno())
        replace(path.with_suffix(".tmp"), path)
        sync_folder(done)
        promise(record)
"""

ROTATED = """
def recover(folder):
    found = []
    for path in sorted(folder.glob("journal*")):
        found += unseal(path.read_bytes())[0]
    return found

def work(folder, promise):
    for part in (0, 1):
        with (folder / f"journal-{part}").open("xb") as journal:
            sync_folder(folder)
            for record in RECORDS[part * 3:part * 3 + 3]:
                journal.write(seal(record))
                journal.flush()
                fsync(journal)
                promise(record)
"""

COMMITTED = """
def read(folder):
    if not (folder / "checkpoint").exists():
        return [], 0
    size = int((folder / "checkpoint").read_text())
    data = (folder / "journal").read_bytes()[:size]
    records, sound = unseal(data)
    assert sound == size, f"{size} bytes are committed, {sound} are sound"
    return records, size

def recover(folder):
    return read(folder)[0]

def commit(folder, journal):
    journal.flush()
    fsync(journal.fileno())
    with open(folder / "checkpoint.tmp", "w") as file:
        file.write(str(journal.tell()))
        file.flush()
        fsync(file.fileno())
    replace(folder / "checkpoint.tmp", folder / "checkpoint")
    sync_folder(folder)

def work(folder, promise):
    with open(folder / "journal", "ab") as journal:
        sync_folder(folder)
        _, size = read(folder)
        journal.truncate(size)
        for start in (0, 3):
            for record in RECORDS[start:start + 3]:
                journal.write(seal(record))
            commit(folder, journal)
            for record in RECORDS[start:start + 3]:
                promise(record)
"""

PLAIN_LINES = """
def recover(folder):
    path = folder / "journal"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

def work(folder, promise):
    with open(folder / "journal", "a") as journal:
        sync_folder(folder)
        for record in RECORDS:
            print(json.dumps(record), file=journal, flush=True)
            fsync(journal.fileno())
            promise(record)
"""

LENGTHS = """
def recover(folder):
    path, found = folder / "journal", []
    data = path.read_bytes() if path.exists() else b""
    while len(data) >= 4:
        (size,) = struct.unpack_from("<I", data)
        if len(data) < 4 + size:
            break
        found.append(json.loads(data[4:4 + size]))
        data = data[4 + size:]
    return found

def work(folder, promise):
    with open(folder / "journal", "ab", buffering=0) as journal:
        sync_folder(folder)
        for record in RECORDS:
            data = json.dumps(record).encode()
            journal.write(struct.pack("<I", len(data)) + data)
            fsync(journal)
            promise(record)
"""

RIGHT = {
    "journal with checksums": HEAD + JOURNAL,
    "journal in batches, by descriptor": HEAD + BATCHED,
    "a file for each record": HEAD + ONE_FILE_EACH,
    "journal in parts": HEAD + ROTATED,
    "journal and checkpoint": HEAD + COMMITTED,
}


def _changed(source: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert source.count(old) >= 1, old
        source = source.replace(old, new)
    return HEAD + source


WRONG = {
    "journal without checksums": HEAD + PLAIN_LINES,
    "lengths without checksums": HEAD + LENGTHS,
    "journal without flush": _changed(JOURNAL, ("            journal.flush()\n", "")),
    "journal without fsync": _changed(JOURNAL, ("            fsync(journal.fileno())\n", "")),
    "promise before the fsync": _changed(
        JOURNAL,
        ("            promise(record)\n", ""),
        ("            fsync(", "            promise(record)\n            fsync("),
    ),
    "journal whose name does not last": _changed(JOURNAL, ("        sync_folder(folder)\n", "")),
    "fsync at the end alone": _changed(
        BATCHED, ("        os.fdatasync(fd)\n", ""), ("    os.close(fd)", "    os.fsync(fd)")
    ),
    "files whose folder does not last": _changed(ONE_FILE_EACH, ("    sync_folder(folder)\n", "")),
    "fsync of the folder above": _changed(
        ONE_FILE_EACH, ("        sync_folder(done)\n", "        sync_folder(folder)\n")
    ),
    "second part whose name does not last": _changed(
        ROTATED,
        ("            sync_folder(folder)\n", "            if part == 0: sync_folder(folder)\n"),
    ),
    "checkpoint before the journal": _changed(
        COMMITTED,
        ("    journal.flush()\n    fsync(journal.fileno())\n", "    journal.flush()\n"),
        (
            "    sync_folder(folder)\n\ndef work",
            "    sync_folder(folder)\n    fsync(journal)\n\ndef work",
        ),
    ),
    "checkpoint in place": _changed(
        COMMITTED, ('"checkpoint.tmp", "w"', '"checkpoint", "w"'), ("    replace(", "    (")
    ),
    "checkpoint that counts what is in the buffer": _changed(
        COMMITTED, ("    journal.flush()\n    fsync(journal.fileno())\n", "    fsync(journal)\n")
    ),
}
RIGHT = {name: dedent(source) for name, source in RIGHT.items()}
