"""Exercises of notebook 02: a safe write, a torn journal, and doing things exactly once."""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lesson15.course.exercise import Exercise


def _check_save(mine: Callable[..., Any]) -> str | None:
    steps: list[tuple[str, Any]] = []
    real_replace, real_rename, real_fsync = os.replace, os.rename, os.fsync

    def replace(source: Any, target: Any, **options: Any) -> None:
        steps.append(("replace", os.fspath(source)))
        real_replace(source, target, **options)

    def rename(source: Any, target: Any, **options: Any) -> None:
        steps.append(("replace", os.fspath(source)))
        real_rename(source, target, **options)

    def fsync(handle: int) -> None:
        steps.append(("fsync", None))
        real_fsync(handle)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.json"
        path.write_text('{"done": 1}', encoding="utf-8")
        inode = path.stat().st_ino
        with patch("os.replace", replace), patch("os.rename", rename), patch("os.fsync", fsync):
            mine(path, {"done": 2})
        if not path.exists() or json.loads(path.read_text(encoding="utf-8")) != {"done": 2}:
            return "Afterwards the file must hold the new state as JSON."
        replaced = [source for step, source in steps if step == "replace"]
        if path.stat().st_ino == inode or not replaced:
            return "You write in place: killed half way, old and new state are both lost."
        if Path(replaced[-1]).resolve().parent != Path(folder).resolve():
            return "The temporary file must lie in the same folder: only there is renaming atomic."
        if "fsync" not in [step for step, _ in steps[: steps.index(("replace", replaced[-1]))]]:
            return "fsync before you rename: or the new name may outlive a power cut empty."
    return None


def _journal(count: int) -> list[bytes]:
    payloads = [json.dumps({"id": f"doc-{n}"}).encode() for n in range(count)]
    return [b"%08x %b\n" % (zlib.crc32(payload), payload) for payload in payloads]


def _check_journal(mine: Callable[..., Any]) -> str | None:
    lines = _journal(5)
    records = [{"id": f"doc-{n}"} for n in range(5)]
    if mine(b"".join(lines)) != records:
        return "From a sound journal all five records are wanted, as a list."
    if mine(b"") != []:
        return "An empty journal has no records: an empty list."
    try:
        found = mine(b"".join(lines[:3]) + lines[3][:-9])
    except Exception as error:  # noqa: BLE001 - the student's code meets a torn line
        return (
            f"A torn last line raised {type(error).__name__}: a torn tail is normal after a kill."
        )
    if found != records[:3]:
        return f"With the fourth line torn, three records count; you give {len(found)}."
    flipped = lines[1].replace(b"doc-1", b"doc-7")
    found = mine(lines[0] + flipped + b"".join(lines[2:]))
    if {"id": "doc-7"} in found:
        return "A record with a flipped bit was believed: compare the checksum."
    if found != records[:1]:
        return "What comes after the damage cannot be trusted either: stop at the first bad line."
    return None


def _check_upsert(mine: Callable[..., Any]) -> str | None:
    index: dict[tuple[str, int], str] = {("b", 0): "other"}
    mine(index, "a", ["x", "y", "z"])
    wanted = {("b", 0): "other", ("a", 0): "x", ("a", 1): "y", ("a", 2): "z"}
    if index != wanted:
        return f"After the first call the index must be {wanted}, and it is {index}."
    mine(index, "a", ["x", "y", "z"])
    if index != wanted:
        return "The same call again must change nothing."
    mine(index, "a", ["new"])
    if index != {("b", 0): "other", ("a", 0): "new"}:
        return f"A shorter version must leave no old chunks behind; the index is {index}."
    return None


EXERCISES = [
    Exercise(
        question="""
        Write `mine(path, state)`: save the dict `state` as JSON at the Path `path` so that, at
        whatever instant the process is killed or the power fails, `path` holds either the whole
        old state or the whole new one.
        """,
        hint="""
        Write a temporary file beside it, flush, os.fsync(file.fileno()), then os.replace.
        (After that, fsync of the folder makes the new name durable too.)
        """,
        answer="""
        import json, os

        def mine(path, state):
            temporary = path.with_suffix(".tmp")
            with open(temporary, "w") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        """,
        check=_check_save,
        wrong={
            """
            import json
            def mine(path, state):
                path.write_text(json.dumps(state))
            """: "in place",
            """
            import json, os
            def mine(path, state):
                with open(path, "w") as file:
                    json.dump(state, file)
                    file.flush()
                    os.fsync(file.fileno())
            """: "in place",
            """
            import json, os
            def mine(path, state):
                temporary = path.with_suffix(".tmp")
                temporary.write_text(json.dumps(state))
                os.replace(temporary, path)
            """: "fsync before",
            """
            import json, os
            def mine(path, state):
                temporary = path.with_suffix(".tmp")
                temporary.write_text(json.dumps(state))
                os.replace(temporary, path)
                with open(path) as file:
                    os.fsync(file.fileno())
            """: "fsync before",
        },
    ),
    Exercise(
        question="""
        A journal has lines like `1c291ca3 {"id": "doc-0"}`: the CRC-32 of the JSON in 8
        hexadecimal digits, a space, the JSON, a newline. Write `mine(data)`: given the bytes of
        a journal, return the list of records that can be trusted after a crash.
        """,
        hint="""
        Go line by line. zlib.crc32(payload) == int(line[:8], 16)? At the first line that has no
        newline or the wrong checksum, stop.
        """,
        answer="""
        import json, zlib

        def mine(data):
            records = []
            for line in data.splitlines(keepends=True):
                payload = line[9:-1]
                if not line.endswith(b"\\n") or line[:8] != b"%08x" % zlib.crc32(payload):
                    break
                records.append(json.loads(payload))
            return records
        """,
        check=_check_journal,
        wrong={
            """
            import json
            def mine(data):
                return [json.loads(line[9:]) for line in data.splitlines()]
            """: "torn tail",
            """
            import json
            def mine(data):
                records = []
                for line in data.splitlines():
                    try:
                        records.append(json.loads(line[9:]))
                    except ValueError:
                        break
                return records
            """: "compare the checksum",
            """
            import json, zlib
            def mine(data):
                records = []
                for line in data.splitlines():
                    if line[:8] == b"%08x" % zlib.crc32(line[9:]):
                        records.append(json.loads(line[9:]))
                return records
            """: "after the damage",
        },
    ),
    Exercise(
        question="""
        After a crash some documents are done a second time. Write `mine(index, doc_id, chunks)`
        so that this does no harm. `index` is a dict from (doc_id, chunk number) to text. After
        the call it must hold exactly `chunks` for `doc_id`, whatever it held before.
        """,
        hint="An upsert: first take out every key of this document, then put in the new ones.",
        answer="""
        def mine(index, doc_id, chunks):
            for key in [key for key in index if key[0] == doc_id]:
                del index[key]
            index.update({(doc_id, n): text for n, text in enumerate(chunks)})
        """,
        check=_check_upsert,
        wrong={
            """
            def mine(index, doc_id, chunks):
                start = sum(key[0] == doc_id for key in index)
                for n, text in enumerate(chunks, start):
                    index[doc_id, n] = text
            """: "again must change nothing",
            """
            def mine(index, doc_id, chunks):
                for n, text in enumerate(chunks):
                    index[doc_id, n] = text
            """: "no old chunks",
            """
            def mine(index, doc_id, chunks):
                index.clear()
                for n, text in enumerate(chunks):
                    index[doc_id, n] = text
            """: "first call",
        },
    ),
]
