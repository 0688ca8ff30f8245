"""Tells of ways to change a disk that cannot be traced: whoever takes one gets no verdict."""

from __future__ import annotations

import mmap
import os
import sys
from typing import Any

from lesson15.crashlab.recorder import Recorder

_PROCESSES = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn",
     "os.spawn"}
)  # fmt: skip
_SYSTEM_CALLS = frozenset(
    {"creat", "fallocate", "fdatasync", "fopen", "fopen64", "fputs", "fsync", "ftruncate", "fwrite",
     "link", "mkdir", "mmap", "mmap64", "open", "open64", "openat", "pwrite", "pwrite64", "pwritev",
     "remove", "rename", "renameat", "renameat2", "rmdir", "sendfile", "splice", "symlink", "sync",
     "sync_file_range", "syncfs", "syscall", "truncate", "unlink", "unlinkat", "write", "writev"}
)  # fmt: skip
_watching: list[Recorder] = []
_hooked: list[bool] = []


def watch(recorder: Recorder) -> None:
    """Let ``recorder`` note what it cannot trace, while it is active."""
    _watching[:] = [recorder]
    if not _hooked:
        sys.addaudithook(_notice)  # It stays for the life of the process, and does nothing alone.
        _hooked.append(True)


def is_watched(recorder: Recorder) -> bool:
    """Whether ``recorder`` notes what it cannot trace."""
    return any(each is recorder for each in _watching)


def unwatch() -> None:
    """There is no recorder any more."""
    _watching.clear()


def _notice(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or not _watching[0].is_active:
        return
    recorder = _watching[0]
    if event in _PROCESSES:
        recorder.note_unseen(f"Another process was started ({event}): what it writes is not seen.")
    elif event == "sqlite3.connect":
        if arguments and arguments[0] not in (":memory:", ""):
            recorder.note_unseen("sqlite3 was used: it writes past Python, and is not seen.")
    elif event == "ctypes.dlsym" and str(arguments[1]) in _SYSTEM_CALLS:
        recorder.note_unseen(f"{arguments[1]} was called by ctypes: it is not seen.")
    elif event == "ctypes.dlopen" and arguments[0] and not str(arguments[0]).startswith("libc."):
        recorder.note_unseen(f"ctypes loaded {arguments[0]}: what it writes is not seen.")
    elif event == "mmap.__new__":
        descriptor, access = arguments[0], arguments[2]
        is_written = access not in (mmap.ACCESS_READ, mmap.ACCESS_COPY)
        if descriptor != -1 and is_written and recorder.node_of(descriptor) is not None:
            recorder.note_unseen("mmap was used: what is written to a mapping is not seen.")
    elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _notice_open(recorder, arguments)


def _notice_open(recorder: Recorder, arguments: tuple[Any, ...]) -> None:
    """Notice a file of the folder that was opened to be written, but not by a traced call."""
    path, flags = arguments[0], arguments[2]
    is_written = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
    if is_written and not recorder.is_opening and recorder.place(path) is not None:
        recorder.note_unseen(f"{os.fsdecode(path)} was opened by something that is not traced.")
