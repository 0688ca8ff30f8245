"""The same savers, with the functions of ``os`` got in other ways: the verdict is the same."""

from __future__ import annotations

import pytest

from tests.crashlab.savers import Saver
from tests.crashlab.test_savers import judge

BODY = """
import json
def save(path, state):
    temporary = str(path) + ".tmp"
    WRITE
    UNLINK
    REPLACE(temporary, path)
    SYNC_FOLDER

def write_whole(path, state, *, is_flushed=True, is_synced=True):
    file = OPEN(path, "w")
    if is_synced == "first":
        FSYNC(file.fileno())
    file.write(json.dumps(state))
    if is_flushed:
        file.flush()
    if is_synced is True:
        FSYNC(file.fileno())
    file.close()

def sync_folder(path):
    descriptor = OS_OPEN(path.parent, 0)
    FSYNC(descriptor)
    CLOSE(descriptor)
"""
RIGHT = {"WRITE": "write_whole(temporary, state)", "UNLINK": "", "SYNC_FOLDER": "sync_folder(path)"}
OTHER = "write_whole(temporary, state, is_synced=False); write_whole(temporary + '2', state)"
KINDS = {
    "right": {},
    "no fsync": {"WRITE": "write_whole(temporary, state, is_synced=False)"},
    "fsync of another file": {"WRITE": OTHER},
    "fsync before the write": {"WRITE": "write_whole(temporary, state, is_synced='first')"},
    "fsync without flush": {"WRITE": "write_whole(temporary, state, is_flushed=False)"},
    "unlink first": {"UNLINK": "path.unlink()"},
    "no fsync of the folder": {"SYNC_FOLDER": ""},
}

NAMES = ("REPLACE", "OS_OPEN", "FSYNC", "CLOSE", "OPEN")
STYLES = {
    "module": ("import os", "os.replace os.open os.fsync os.close open"),
    "names": (
        "from os import replace, fsync, close, open as os_open",
        "replace os_open fsync close open",
    ),
    "other names": (
        "import os as system, io\nfrom posix import rename as r, fdatasync as f\no = io.open",
        "r system.open f system.close o",
    ),
    "everything": (
        "import builtins\nfrom os import *\nfrom os import open as os_open",
        "replace os_open fsync close builtins.open",
    ),
    "pathlib": (
        "import os, pathlib\n"
        "def move(old, new):\n"
        "    pathlib.Path(old).replace(new)\n"
        "def opened(path, mode):\n"
        "    return pathlib.Path(path).open(mode)",
        "move os.open os.fsync os.close opened",
    ),
    "late": (
        "from importlib import import_module",
        "getattr(import_module('os'),'rename') __import__('os').open import_module('os').fsync "
        "import_module('posix').close __import__('io').open",
    ),
    "kept": (
        "import os, functools\n"
        "class Tools:\n"
        "    __slots__ = ('replace',)\n"
        "    fsync = os.fsync\n"
        "    close = staticmethod(os.close)\n"
        "    def __init__(self):\n"
        "        self.replace = os.replace\n"
        "tools, table = Tools(), {'open': [(os.open,)]}\n"
        "opened = functools.partial(open, encoding='utf-8')",
        "tools.replace table['open'][0][0] tools.fsync Tools.close opened",
    ),
    "shutil": (
        "import os, shutil",
        "shutil.move os.open os.fdatasync os.close open",
    ),
    "descriptors": (
        "import os\n"
        "class File:\n"
        "    def __init__(self, path, mode):\n"
        "        self.fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)\n"
        "        self.parts = []\n"
        "    def write(self, text):\n"
        "        self.parts.append(text.encode())\n"
        "    def flush(self):\n"
        "        os.writev(self.fd, self.parts)\n"
        "        self.parts.clear()\n"
        "    def fileno(self):\n"
        "        return os.dup(self.fd)\n"
        "    def close(self):\n"
        "        self.flush() if self.parts else None\n"
        "        os.close(self.fd)",
        "os.rename os.open os.fsync os.close File",
    ),
}  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_verdict_is_the_same(style: str, kind: str) -> None:
    prelude, functions = STYLES[style]
    source = BODY
    for name, text in {**RIGHT, **KINDS[kind]}.items():
        source = source.replace(name, text, 1)
    for name, text in zip(NAMES, functions.split(" "), strict=True):
        source = source.replace(f"{name}(", f"{text}(")
    result = judge(Saver(kind, f"{prelude}\n{source}"))
    assert not result.error, result.error
    assert not result.unseen
    assert result.is_safe == (kind == "right"), str(result)
