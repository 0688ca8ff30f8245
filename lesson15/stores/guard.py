"""What a store raises, told as an error that names the store; what may pass is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lesson15.errors import Lesson15Error, StoreError
from lesson15.stores.base import Rows, Vectors, VectorStore

T = TypeVar("T")
_TRANSIENT = (TimeoutError, ConnectionError)
_WAITS_SECONDS = (0.1, 0.5, 2.0)


class GuardedStore:
    """The store that ``make`` makes, named ``name``, at ``path``.

    A time-out or a lost connection is waited for and tried again, three times. What the store
    raises otherwise, or in the end, is raised as a :class:`StoreError`; a KeyError of ``get`` and
    the errors of lesson15 pass.
    """

    def __init__(self, name: str, path: Path, make: Callable[[], VectorStore]) -> None:
        self._name = name
        self._path = path
        self._store = self._call(make)

    def _call(self, func: Callable[[], T], *passing: type[Exception]) -> T:
        for wait in (*_WAITS_SECONDS, None):
            try:
                return func()
            except (Lesson15Error, *passing):  # type: ignore[misc] # all are kinds of Exception
                raise
            except Exception as error:
                if wait is None or not isinstance(error, _TRANSIENT):
                    detail = f"{type(error).__name__}: {error}"
                    raise StoreError(name=self._name, path=self._path, detail=detail) from error
                time.sleep(wait)
        raise AssertionError  # the last turn returns or raises

    def rows(self) -> Rows:
        """As :meth:`VectorStore.rows`."""
        return self._call(self._store.rows)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """As :meth:`VectorStore.add`; what an attempt that failed has added is removed first."""
        attempts = 0

        def add() -> None:
            nonlocal attempts
            attempts += 1
            if attempts > 1:
                self._store.remove(rows)
            self._store.add(rows, vectors)

        self._call(add)

    def remove(self, rows: Rows) -> None:
        """As :meth:`VectorStore.remove`."""
        self._call(lambda: self._store.remove(rows))

    def get(self, rows: Rows) -> Vectors:
        """As :meth:`VectorStore.get`."""
        return self._call(lambda: self._store.get(rows), KeyError)

    def search(self, query: Vectors, k: int) -> list[tuple[int, float]]:
        """As :meth:`VectorStore.search`."""
        return self._call(lambda: self._store.search(query, k))

    def clear(self) -> None:
        """As :meth:`VectorStore.clear`."""
        self._call(self._store.clear)

    def save(self, tag: str) -> None:
        """As :meth:`VectorStore.save`."""
        self._call(lambda: self._store.save(tag))

    def load(self) -> str | None:
        """As :meth:`VectorStore.load`."""
        return self._call(self._store.load)

    def close(self) -> None:
        """As :meth:`VectorStore.close`."""
        self._call(self._store.close)
