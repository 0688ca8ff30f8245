"""Where the service keeps things, and which paths a user may name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lesson15.documents.loaders import supported_types
from lesson15.documents.scan import is_inside, scan
from lesson15.errors import DocumentPathError, NoDocumentsError, PathNotAllowedError


@dataclass(frozen=True, slots=True)
class UserFolder:
    """The two folders of one user: the state of the batches, and the uploaded files."""

    root: Path

    @classmethod
    def of(cls, state_dir: Path, user: str) -> UserFolder:
        """The folder of ``user``, which is a valid user name; made if need be."""
        # Resolved: whatever lies in it is compared with real paths.
        folder = cls(Path(os.path.realpath(state_dir)) / "users" / user)
        for path in (folder.batches, folder.files):
            path.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def batches(self) -> Path:
        """The engine's state folder."""
        return self.root / "batches"

    @property
    def files(self) -> Path:
        """Uploads; document ids are relative to it."""
        return self.root / "files"


class AllowedRoots:
    """The folders that documents of one user must lie in: the shared ones, and the user's own."""

    def __init__(self, folder: UserFolder, shared: Iterable[Path]) -> None:
        self._home = str(folder.files)
        self.roots = [self._home, *map(os.path.realpath, shared)]

    def resolve(self, path: str) -> str:
        """The real path of ``path``, which is relative to the user's files.

        Raises:
            PathNotAllowedError: it lies elsewhere; the same whether or not anything is there.
            DocumentPathError: there is nothing there.
        """
        try:
            real = os.path.realpath(os.path.join(self._home, path))  # noqa: PTH118 - as realpath
            if not any(is_inside(real, root) for root in self.roots):
                raise PathNotAllowedError(path=path)
            is_there = os.path.exists(real)  # noqa: PTH110
        except ValueError:  # a zero byte in it
            raise PathNotAllowedError(path=path) from None
        if not is_there:
            raise DocumentPathError(path=path, types=supported_types())
        return real

    def resolve_all(self, paths: list[str]) -> tuple[list[str], int]:
        """The real paths of ``paths``, and how many documents they hold; blocks on the disk.

        Raises:
            PathNotAllowedError, DocumentPathError: as :meth:`resolve`.
            NoDocumentsError: they hold none.
        """
        resolved = [self.resolve(path) for path in paths]
        count = sum(1 for _ in scan(resolved))
        if not count:
            raise NoDocumentsError(paths=", ".join(paths), types=supported_types())
        return resolved, count
