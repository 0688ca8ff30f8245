"""What stands in the place of the functions of ``os`` that change a disk.

Each does what was asked with the real function, and then notes it in the model.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
from collections.abc import Callable, Iterable
from typing import Any

from lesson15.crashlab.disk import Folder, Link, Node
from lesson15.crashlab.inode import Inode
from lesson15.crashlab.recorder import PathLike, Recorder, key_of

Body = Callable[..., Any]
BODIES: dict[str, Body] = {}
"""By the name in ``os``: called with the recorder and the real function, then as that one is."""


class Traced:
    """Stands for the function ``real``. Like that, it does not become a method in a class."""

    def __init__(self, recorder: Recorder, real: Callable[..., Any], body: Body) -> None:
        functools.update_wrapper(self, real)
        self._recorder, self.real, self._body = recorder, real, body

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do it, and note it if the recorder is active."""
        if not self._recorder.is_active:
            return self.real(*args, **kwargs)
        with self._recorder.lock:
            return self._body(self._recorder, self.real, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<{self.real!r}, traced by crashlab>"


def body(*names: str) -> Callable[[Body], Body]:
    """This function stands for those of ``os``."""

    def keep(function: Body) -> Body:
        BODIES.update(dict.fromkeys(names, function))
        return function

    return keep


@body("open")
def _open_file(
    recorder: Recorder,
    real: Any,
    path: PathLike,
    flags: int,
    mode: int = 0o777,
    *,
    dir_fd: int | None = None,
) -> int:
    existing = _existing(path, dir_fd)
    node = recorder.at(path, dir_fd, follow=True)
    place = recorder.place(_through_links(path, dir_fd), dir_fd)
    is_new = not existing and flags & os.O_CREAT
    is_cut = flags & os.O_TRUNC and isinstance(node, Inode) and node.content
    if (is_new and place) or (is_cut and node and not recorder.is_silent(node)):
        recorder.step()
    with recorder.opening():
        descriptor: int = real(path, flags, mode, dir_fd=dir_fd)
    is_nameless = flags & os.O_TMPFILE == os.O_TMPFILE
    if is_nameless or (is_new and not place):
        recorder.know(Inode(), key_of(descriptor), is_outside=True)
    elif is_new and place:
        made = Inode()
        recorder.know(made, key_of(descriptor))
        recorder.named(f"create {recorder.shown_place(place)}", place, made)
    elif is_cut and isinstance(node, Inode):
        recorder.cut(node, 0)
    return descriptor


def _existing(path: PathLike, dir_fd: int | None) -> bool:
    try:
        os.stat(path, dir_fd=dir_fd)
    except OSError:
        return False
    return True


def _through_links(path: PathLike, dir_fd: int | None) -> PathLike:
    if dir_fd is None and os.path.islink(path):  # noqa: PTH114 - bytes, too
        return os.path.realpath(os.fsdecode(path))
    return path


def _change_bytes(
    recorder: Recorder, descriptor: int, offset: int | None, work: Callable[[], tuple[int, bytes]]
) -> int:
    """Do ``work``, which writes the bytes that it gives; ``offset`` None: where the file stands."""
    node = recorder.node_of(descriptor)
    if not isinstance(node, Inode):
        return work()[0]
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND:
        offset = len(node.content)
    elif offset is None:
        offset = os.lseek(descriptor, 0, os.SEEK_CUR)
    if not recorder.is_silent(node):
        recorder.step()
    count, data = work()
    if data:
        recorder.written(node, data, offset, descriptor)
    return count


@body("write")
def write(recorder: Recorder, real: Any, fd: int, data: Any) -> int:
    """``os.write``, and each write of a file object."""

    def work() -> tuple[int, bytes]:
        count = real(fd, data)
        return count, _bytes(data)[:count]

    return _change_bytes(recorder, fd, None, work)


@body("pwrite")
def _pwrite(recorder: Recorder, real: Any, fd: int, data: Any, offset: int) -> int:
    def work() -> tuple[int, bytes]:
        count = real(fd, data, offset)
        return count, _bytes(data)[:count]

    return _change_bytes(recorder, fd, offset, work)


@body("writev")
def _writev(recorder: Recorder, real: Any, fd: int, buffers: Iterable[Any]) -> int:
    buffers = list(buffers)

    def work() -> tuple[int, bytes]:
        count = real(fd, buffers)
        return count, b"".join(map(_bytes, buffers))[:count]

    return _change_bytes(recorder, fd, None, work)


@body("pwritev")
def _pwritev(
    recorder: Recorder, real: Any, fd: int, buffers: Iterable[Any], offset: int, flags: int = 0
) -> int:
    buffers = list(buffers)

    def work() -> tuple[int, bytes]:
        count = real(fd, buffers, offset, flags)
        return count, b"".join(map(_bytes, buffers))[:count]

    return _change_bytes(recorder, fd, offset, work)


@body("sendfile")
def _sendfile(
    recorder: Recorder, real: Any, out_fd: int, in_fd: int, offset: int | None, count: int
) -> int:
    start = os.lseek(in_fd, 0, os.SEEK_CUR) if offset is None else offset

    def work() -> tuple[int, bytes]:
        sent = real(out_fd, in_fd, offset, count)
        return sent, os.pread(in_fd, sent, start)

    return _change_bytes(recorder, out_fd, None, work)


@body("copy_file_range")
def _copy_file_range(
    recorder: Recorder,
    real: Any,
    src: int,
    dst: int,
    count: int,
    offset_src: int | None = None,
    offset_dst: int | None = None,
) -> int:
    start = os.lseek(src, 0, os.SEEK_CUR) if offset_src is None else offset_src

    def work() -> tuple[int, bytes]:
        copied = real(src, dst, count, offset_src, offset_dst)
        return copied, os.pread(src, copied, start)

    return _change_bytes(recorder, dst, offset_dst, work)


def _bytes(data: Any) -> bytes:
    return memoryview(data).tobytes()


@body("ftruncate", "truncate")
def truncate(recorder: Recorder, real: Any, path: Any, length: int) -> None:
    """``os.truncate``, and that of a file object."""
    node = recorder.node_of(path) if isinstance(path, int) else recorder.at(path, follow=True)
    if isinstance(node, Inode) and not recorder.is_silent(node):
        recorder.step()
    real(path, length)
    if isinstance(node, Inode):
        recorder.cut(node, length)


@body("posix_fallocate")
def _fallocate(recorder: Recorder, real: Any, fd: int, offset: int, length: int) -> None:
    node = recorder.node_of(fd)
    if isinstance(node, Inode) and not recorder.is_silent(node):
        recorder.step()
    real(fd, offset, length)
    if isinstance(node, Inode) and offset + length > len(node.content):
        recorder.cut(node, offset + length)


@body("fsync", "fdatasync")
def _fsync(recorder: Recorder, real: Any, fd: Any) -> None:
    descriptor = fd if isinstance(fd, int) else fd.fileno()
    node = recorder.node_of(descriptor)
    if node is None:
        real(fd)
    elif recorder.is_silent(node) and isinstance(node, Inode):
        node.flush()
    else:
        recorder.step()
        real(fd)
        recorder.done(f"fsync {recorder.path_of(node)}")
        if isinstance(node, Folder):
            recorder.disk.fsync_folder(node)
        else:
            recorder.disk.fsync(node)


@body("sync")
def _sync(recorder: Recorder, real: Any) -> None:  # noqa: ARG001 - other programs need not wait
    recorder.step()
    recorder.done("sync everything")
    recorder.disk.sync()


@body("rename", "replace")
def _rename(
    recorder: Recorder,
    real: Any,
    src: PathLike,
    dst: PathLike,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
) -> None:
    node, replaced = recorder.at(src, src_dir_fd), recorder.at(dst, dst_dir_fd)
    source, target = recorder.place(src, src_dir_fd), recorder.place(dst, dst_dir_fd)
    if (source is None) != (target is None):
        raise _on_another_disk(src, dst)
    is_nothing = source is None or node is None or node is replaced
    if not is_nothing:
        recorder.step()
    real(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    if not is_nothing and source and target:
        text = f"rename {recorder.shown_place(source)} -> {recorder.shown_place(target)}"
        recorder.named(text, target, node, source)


def _on_another_disk(src: PathLike, dst: PathLike) -> OSError:
    """What lies outside of the recorded folder is taken for another disk, as it often is."""
    return OSError(errno.EXDEV, os.strerror(errno.EXDEV), src, None, dst)


@body("unlink", "remove", "rmdir")
def _remove(recorder: Recorder, real: Any, path: PathLike, *, dir_fd: int | None = None) -> None:
    place = recorder.place(path, dir_fd)
    if place:
        recorder.step()
    real(path, dir_fd=dir_fd)
    if place:
        recorder.named(f"remove {recorder.shown_place(place)}", place, None)


def _make(
    recorder: Recorder,
    path: PathLike,
    dir_fd: int | None,
    verb: str,
    node: Node | None,
    work: Callable[[], None],
) -> None:
    """Do ``work``, which gives a name at ``path`` to ``node``; None: to what is there then."""
    place = recorder.place(path, dir_fd)
    if place:
        recorder.step()
    work()
    if not place:
        return
    found = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    key = (found.st_dev, found.st_ino)
    node = node or recorder.at(path, dir_fd)
    if node is None:
        recorder.note_unseen(f"{os.fsdecode(path)} is another name of a file that is not known.")
        return
    recorder.know(node, key)
    recorder.named(f"{verb} {recorder.shown_place(place)}", place, node)


@body("mkdir")
def _mkdir(
    recorder: Recorder,
    real: Any,
    path: PathLike,
    mode: int = 0o777,
    *,
    dir_fd: int | None = None,
) -> None:
    _make(recorder, path, dir_fd, "make folder", Folder(), lambda: real(path, mode, dir_fd=dir_fd))


@body("link")
def _link(
    recorder: Recorder,
    real: Any,
    src: PathLike,
    dst: PathLike,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    follow_symlinks: bool = True,
) -> None:
    is_nameless = os.fsdecode(src).startswith("/proc/self/fd/")
    source, target = recorder.place(src, src_dir_fd), recorder.place(dst, dst_dir_fd)
    if (source is None) != (target is None) and not is_nameless:
        raise _on_another_disk(src, dst)

    def work() -> None:
        real(
            src,
            dst,
            src_dir_fd=src_dir_fd,
            dst_dir_fd=dst_dir_fd,
            follow_symlinks=follow_symlinks,
        )

    _make(recorder, dst, dst_dir_fd, f"link {os.fsdecode(src)} as", None, work)


@body("symlink")
def _symlink(
    recorder: Recorder,
    real: Any,
    src: PathLike,
    dst: PathLike,
    target_is_directory: bool = False,
    *,
    dir_fd: int | None = None,
) -> None:
    node = Link(os.fsencode(src))
    _make(
        recorder,
        dst,
        dir_fd,
        "make symbolic link",
        node,
        lambda: real(src, dst, target_is_directory, dir_fd=dir_fd),
    )


@body("mkfifo", "mknod", "splice")
def _unknown(recorder: Recorder, real: Any, *args: Any, **kwargs: Any) -> Any:
    recorder.note_unseen(f"os.{real.__name__} was called, which is not traced.")
    return real(*args, **kwargs)
