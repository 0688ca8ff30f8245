"""Objects that stand for others, and do less than those."""

from __future__ import annotations

from typing import Any


class Around:
    """Stands for ``inner``, and passes on what a subclass does not do otherwise."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class WithoutFsync(Around):
    """A file that flushes nothing."""

    def fsync(self) -> None:
        pass
