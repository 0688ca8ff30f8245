"""What is recorded of a program, however it writes; what cannot be recorded is said."""

from __future__ import annotations

import contextlib
import ctypes
import gzip
import io
import json
import logging
import mmap
import os
import pathlib
import pickle
import posix
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from os import fsync as sync_file
from pathlib import Path
from typing import Any

import pytest

from lesson15 import crashlab
from lesson15.crashlab.contents import put
from lesson15.crashlab.recorder import Recorder, read
from lesson15.crashlab.tracing import traced

Work = Callable[[Path], object]


def record(folder: Path, work: Work) -> Recorder:
    """Run ``work`` in ``folder``; that the model has the same content is checked on the way."""
    recorder = Recorder(folder)
    recorder.load()
    with traced(recorder), recorder.active():
        work(folder)
    return recorder


def lines(recorder: Recorder) -> list[str]:
    return [line.text.partition(":")[0] for line in recorder.trace]


def text_modes(folder: Path) -> None:
    path = folder / "text"
    with open(path, "w", encoding="utf-16", newline="\r\n") as file:
        assert file.name == str(path)
        assert (file.mode, file.encoding, file.buffer.mode, file.buffer.raw.mode) == (
            "w", "utf-16", "wb", "wb",
        )  # fmt: skip
        assert isinstance(file, io.TextIOWrapper)
        assert isinstance(file.buffer.raw, io.FileIO)
        file.write("one\ntwo\n")
        assert not file.isatty()
    with open(path, "r+", encoding="utf-16") as file:
        assert file.read() == "one\ntwo\n"
        file.seek(0)
        file.write("ONE\n")
        file.truncate()
    with open(path, "a+", encoding="utf-16") as file:
        file.write("three")
        file.seek(0)
        assert file.read() == "ONE\nthree"


def binary_modes(folder: Path) -> None:
    path = str(folder / "bytes")
    with open(path, "xb") as file:
        file.writelines([b"0123", b"456789"])
        file.seek(2)
        file.write(b"--")
        assert file.tell() == 4
    with pytest.raises(FileExistsError):
        open(path, "x")
    with open(path.encode(), "rb+", 0) as file:
        file.seek(0, os.SEEK_END)
        file.write(bytearray(b"end"))
        file.seek(100)
        file.write(memoryview(b"far"))
    with open(path, "w+b", buffering=3) as file:
        file.write(b"0123456789")
        file.seek(0)
        assert file.read() == b"0123456789"
        assert file.truncate(4) == 4
    with open(path, "ab") as file:
        file.write(b"!")
    assert Path(path).read_bytes() == b"0123!"
    for wrong in ("rw", "bt", "", "q", "wbt"):
        with pytest.raises(ValueError, match="mode"):
            open(path, wrong)
    with pytest.raises(ValueError, match="unbuffered"):
        open(path, "w", 0)


def descriptors(folder: Path) -> None:
    flags = os.O_RDWR | os.O_CREAT
    fd = os.open(folder / "a", flags)
    os.write(fd, b"hello")
    os.pwrite(fd, b"J", 0)
    os.lseek(fd, 10, os.SEEK_SET)
    os.writev(fd, [b"x", bytearray(b"yz")])
    os.pwritev(fd, [b"1", b"2"], 20)
    os.ftruncate(fd, 21)
    os.posix_fallocate(fd, 0, 30)
    copy = os.dup(fd)
    os.write(copy, b"after the dup")
    os.close(copy)
    other = os.open("b", flags, dir_fd=os.open(folder, os.O_RDONLY))
    os.sendfile(other, fd, 1, 4)
    os.copy_file_range(fd, other, 3, 0, 1)
    os.truncate(folder / "b", 3)
    os.fsync(other)
    os.close(fd)
    os.close(other)
    posix.rename(folder / "b", folder / "c")


def folders_and_links(folder: Path) -> None:
    (folder / "x" / "y").mkdir(parents=True)
    (folder / "x" / "y" / "f").write_text("deep")
    os.makedirs(folder / "p" / "q", exist_ok=True)
    os.link(folder / "x" / "y" / "f", folder / "p" / "same")
    with open(folder / "p" / "same", "a") as file:
        file.write("er")
    assert (folder / "x" / "y" / "f").read_text() == "deeper"
    os.symlink("p/same", folder / "arrow")
    (folder / "arrow").write_text("through it")
    (folder / "p").rename(folder / "r")
    os.replace(folder / "r" / "same", folder / "x" / "moved")
    (folder / "arrow").unlink()
    os.rmdir(folder / "r" / "q")
    (folder / "a" / "..").resolve().joinpath("dots").touch()
    with contextlib.chdir(folder):
        pathlib.Path("relative").write_bytes(b"1")
        os.rename("relative", "./x/../renamed")
    shutil.rmtree(folder / "x")
    with pytest.raises(OSError, match=r"empty|exists"):
        os.mkdir(folder / "r")


def libraries(folder: Path) -> None:
    with gzip.open(folder / "g", "wb") as file:
        file.write(b"zipped" * 100)
    with zipfile.ZipFile(folder / "z", "w") as archive:
        archive.writestr("name", "text")
    with (folder / "p").open("wb") as file:
        pickle.dump({"a": [1, 2]}, file)
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
        json.dump([1], file)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"nameless")
    shutil.copyfile(folder / "g", folder / "g2")
    shutil.copy2(folder / "z", folder / "z2")
    shutil.copytree(folder, folder.parent / "outside", dirs_exist_ok=True)
    shutil.move(folder.parent / "outside" / "g", folder / "came back")
    shutil.move(folder / "g2", folder.parent / "outside" / "went out")
    handler = logging.FileHandler(folder / "log")
    handler.emit(logging.LogRecord("n", 20, "p", 1, "said", None, None))
    handler.close()
    with io.BufferedWriter(io.FileIO(folder / "raw", "w")) as file:
        file.write(b"raw")


def threads(folder: Path) -> None:
    def write(number: int) -> None:
        for part in range(20):
            with open(folder / str(number), "a") as file:
                file.write(f"{part}\n")

    workers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


@pytest.mark.parametrize(
    "work", [text_modes, binary_modes, descriptors, folders_and_links, libraries, threads]
)
def test_the_model_follows(tmp_path: Path, work: Work) -> None:
    plain, watched = tmp_path / "plain" / "f", tmp_path / "watched" / "f"
    plain.mkdir(parents=True)
    watched.mkdir(parents=True)
    work(plain)
    recorder = record(watched, work)
    assert recorder.unseen == []
    assert recorder.trace
    assert recorder.disk.content() == read(watched)
    if work is not libraries:  # whose names are made at random
        assert read(watched) == read(plain)


def test_every_reference_leads_to_the_recorder_and_back(tmp_path: Path) -> None:
    real = id(os.fsync)
    assert id(sync_file) == real

    class Holder:
        __slots__ = ("slot",)
        attribute = os.fsync
        static = staticmethod(os.fsync)

    holder = Holder()
    holder.slot = os.fsync
    in_list, in_tuple = [os.fsync], {"key": (os.fsync, 1)}

    def default(function: Any = os.fsync, *, keyword: Any = os.fsync) -> list[Any]:
        return [function, keyword]

    def references() -> list[Any]:
        return [
            os.fsync, posix.fsync, sync_file, holder.attribute, holder.static, holder.slot,
            in_list[0], in_tuple["key"][0], *default(),
        ]  # fmt: skip

    with traced(Recorder(tmp_path)):
        assert [id(each) == real for each in references()] == [False] * 10
        assert len({id(each) for each in references()}) == 1
        from os import fsync as late
    assert [id(each) == real for each in references()] == [True] * 10
    assert id(late.real) == real  # a local name of a running function
    assert open is io.open
    assert type(sys.modules["io"].FileIO) is type


def test_durability_is_by_what_was_fsynced(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        with open(folder / "file", "w") as file:
            file.write("data")
            sync_file(file.fileno())  # nothing is flushed yet
            file.flush()
            sync_file(file)
        folder_fd = os.open(folder, os.O_RDONLY)
        sync_file(folder_fd)
        os.close(folder_fd)

    recorder = record(tmp_path, work)
    assert lines(recorder) == [
        "create file", "fsync file", "write 4 bytes to file", "fsync file", "fsync the folder",
    ]  # fmt: skip
    assert [content for _, content in recorder.disk.outcomes(1)] == [{"file": b"data"}]


def by_mmap(folder: Path) -> None:
    (folder / "file").write_bytes(bytes(4096))
    with open(folder / "file", "r+b") as file, mmap.mmap(file.fileno(), 4096) as view:
        view[0] = 1


def by_subprocess(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def by_shell(folder: Path) -> None:
    os.system("true")


def by_sqlite(folder: Path) -> None:
    sqlite3.connect(folder / "db").close()


def by_ctypes(folder: Path) -> None:
    ctypes.CDLL("libc.so.6").sync()


def by_fork(folder: Path) -> None:
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def by_a_class_of_its_own(folder: Path) -> None:
    OwnFile(folder / "file", "w").close()
    with OwnFile(folder / "file", "w") as file:
        file.write(b"past every patch")


class OwnFile(io.FileIO):
    """Made before the patch, from the real class."""


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (by_mmap, "mmap"), (by_subprocess, "process"), (by_shell, "process"),
        (by_sqlite, "sqlite3"), (by_ctypes, "ctypes"), (by_fork, "process"),
        (by_a_class_of_its_own, "traced"),
    ],
)  # fmt: skip
def test_what_cannot_be_traced_gives_no_verdict(work: Work, said: str) -> None:
    def with_promise(folder: Path, promise: Any) -> None:
        work(folder)
        promise(None)

    result = crashlab.explore(with_promise, lambda folder: None)
    assert not result.is_safe
    assert any(said in what for what in result.unseen), result.unseen
    assert "No verdict" in str(result)
    assert said in str(result)


def test_a_recovery_that_cannot_be_traced_gives_no_verdict_on_a_second_crash() -> None:
    def work(folder: Path, promise: Any) -> None:
        os.sync()
        promise(None)

    def recover(folder: Path) -> None:
        by_sqlite(folder)

    assert crashlab.explore(work, recover).is_safe
    result = crashlab.explore(work, recover, second_crash=True)
    assert not result.is_safe
    assert "sqlite3" in str(result)


def test_reading_by_mmap_and_sqlite_in_memory_is_fine() -> None:
    def work(folder: Path, promise: Any) -> None:
        (folder / "file").write_bytes(b"data")
        with open(folder / "file", "rb") as file:
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).close()
        sqlite3.connect(":memory:").close()
        promise(None)

    assert crashlab.explore(work, lambda folder: None).is_safe


def test_what_lies_outside_is_on_another_disk(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "outside").write_text("x")

    def work(folder: Path) -> None:
        (folder / "inside").write_text("y")
        for move in (os.rename, os.replace, os.link):
            with pytest.raises(OSError, match="cross-device"):
                move(tmp_path / "outside", folder / "new")
            with pytest.raises(OSError, match="cross-device"):
                move(folder / "inside", tmp_path / "new")
        os.rename(tmp_path / "outside", tmp_path / "renamed")
        nameless = os.open(folder, os.O_TMPFILE | os.O_WRONLY)
        os.write(nameless, b"z")
        name = f"/proc/self/fd/{nameless}"  # a descriptor of a folder makes link follow it
        os.link(name, folder / "named", src_dir_fd=nameless, follow_symlinks=True)
        os.close(nameless)

    recorder = record(tmp_path / "f", work)
    assert recorder.disk.content() == {"inside": b"y", "named": b"z"}


def test_content_is_made_and_read(tmp_path: Path) -> None:
    folders_and_links(tmp_path)
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    content = read(tmp_path)
    put(content, tmp_path)
    assert read(tmp_path) == content
