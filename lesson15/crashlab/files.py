"""What stands in the place of ``open`` and ``io.FileIO``: real buffers and real text over a file
whose every call on the system is traced.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from typing import Any

from lesson15.crashlab.calls import Traced, truncate, write
from lesson15.crashlab.recorder import Recorder

_REAL_FILE_IO = io.FileIO
_REAL_OPEN = io.open
_BY_LINE = (
    "line buffering (buffering=1) isn't supported in binary mode, the default buffer size will be "
    "used"
)


def file_class(recorder: Recorder, traced_open: Traced) -> type[io.FileIO]:
    """The class that stands for ``io.FileIO``; it opens files by ``traced_open``."""

    class LikeFileIO(type(_REAL_FILE_IO)):  # type: ignore[misc]
        def __instancecheck__(cls, instance: object) -> bool:
            return type.__instancecheck__(_REAL_FILE_IO, instance)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return type.__subclasscheck__(_REAL_FILE_IO, subclass)

    class FileIO(_REAL_FILE_IO, metaclass=LikeFileIO):
        """A file without a buffer."""

        def __init__(
            self, file: Any, mode: str = "r", closefd: bool = True, opener: Any = None
        ) -> None:
            if not recorder.is_active or isinstance(file, int):
                super().__init__(file, mode, closefd, opener)
                return
            with recorder.lock, recorder.opening():
                super().__init__(file, mode, closefd, opener or _with_permissions(traced_open))

        def write(self, data: Any) -> int:
            if not recorder.is_active or self.closed or not self.writable():
                return super().write(data)
            plain = super().write
            with recorder.lock:
                return int(write(recorder, lambda _fd, data: plain(data), self.fileno(), data))

        def writelines(self, lines: Any) -> None:
            for line in lines:
                self.write(line)

        def truncate(self, size: int | None = None) -> int:
            size = self.tell() if size is None else size
            if not recorder.is_active or not self.writable():
                return super().truncate(size)
            plain = super().truncate
            with recorder.lock:
                truncate(recorder, lambda _fd, size: plain(size), self.fileno(), size)
            return size

    FileIO.__module__, FileIO.__qualname__ = "_io", "FileIO"
    return FileIO


def _with_permissions(traced_open: Traced) -> Callable[[str, int], int]:
    return lambda path, flags: int(traced_open(path, flags, 0o666))


def open_function(recorder: Recorder, file_io: type[io.FileIO]) -> Callable[..., Any]:
    """What stands for ``open``; its arguments are those of the built-in function."""

    def open_any(
        _recorder: Recorder,
        real: Any,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        rest = (encoding, errors, newline)
        if not isinstance(mode, str) or not set("wax+") & set(mode):
            return real(file, mode, buffering, *rest, closefd, opener)
        kinds = [letter for letter in mode if letter in "rwax"]
        is_binary = "b" in mode
        is_text = "t" in mode or any(each is not None for each in rest)
        if len(kinds) != 1 or (is_binary and is_text):
            return real(file, mode, buffering, *rest, closefd, opener)  # which says what is wrong
        if is_binary and buffering == 1:
            warnings.warn(_BY_LINE, RuntimeWarning, stacklevel=4)
            buffering = -1
        file = file if isinstance(file, int) else os.fspath(file)
        raw = file_io(file, kinds[0] + "+" * ("+" in mode), closefd, opener)
        try:
            if is_binary and buffering == 0:
                return raw
            if buffering == 0:
                raise ValueError("can't have unbuffered text I/O")
            is_by_line = not is_binary and (buffering == 1 or (buffering < 0 and raw.isatty()))
            size = buffering if buffering > 1 else _buffer_size(raw)
            buffer_class = io.BufferedRandom if "+" in mode else io.BufferedWriter
            buffered = buffer_class(raw, size)
            if is_binary:
                return buffered
            text = io.TextIOWrapper(buffered, encoding, errors, newline, is_by_line)
            text.mode = mode  # type: ignore[misc]
        except BaseException:
            raw.close()
            raise
        return text

    return Traced(recorder, _REAL_OPEN, open_any)


def _buffer_size(raw: io.FileIO) -> int:
    size = getattr(os.fstat(raw.fileno()), "st_blksize", 0)
    return size if size > 1 else io.DEFAULT_BUFFER_SIZE
