"""The paths that a batch is made of: those that were named, and those of a list."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace

from lesson15.checkpoint.state_files import Manifest
from lesson15.documents.scan import Scan, read_list
from lesson15.engine.feed import Naming
from lesson15.errors import UsageError
from lesson15.models import ScanRules

Paths = Iterable[str | os.PathLike[str]]
STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class SourcePaths:
    """``paths`` and then those that the list of ``rules`` names, each time it is iterated over.

    Args:
        paths: files, and folders to scan.
        rules: how folders are scanned, and which file has a list of further paths.
        naming: where relative paths of that list, and the list itself, lie.
    """

    paths: Paths
    rules: ScanRules
    naming: Naming

    @classmethod
    def of(cls, paths: Paths, manifest: Manifest, *, reads_list: bool) -> SourcePaths:
        """``paths`` of the batch of ``manifest``, and its list if it is to be read."""
        rules = manifest.scan if reads_list else replace(manifest.scan, files_from=None)
        return cls(paths, rules, Naming(manifest.base_dir))

    def __iter__(self) -> Iterator[str | os.PathLike[str]]:
        yield from self.paths
        name = self.rules.files_from
        if name is not None:
            name = name if name == STANDARD_INPUT else self.naming.path(name)
            listed = read_list(name, null_separated=self.rules.null_separated)
            yield from map(self.naming.path, listed)

    @property
    def is_countable(self) -> bool:
        """Whether they can be iterated over more than once."""
        return isinstance(self.paths, Sequence) and self.rules.files_from != STANDARD_INPUT

    def count(self) -> int:
        """How many documents there are."""
        return sum(1 for _ in Scan(self, self.rules))


def begun_with(manifest: Manifest, *, prune: bool = False) -> list[str]:
    """The paths that a batch began with; those that are missing are left out if ``prune``.

    Raises:
        UsageError: they came from a stream, which cannot be read again.
    """
    if manifest.sources is None or manifest.scan.files_from == STANDARD_INPUT:
        raise UsageError(
            problem=f"Batch {manifest.batch_id!r} was fed by a stream: resume it with "
            "process_batch(doc_paths, batch_id, resume=True), or `lesson15 resume "
            f"{manifest.batch_id} --files-from -`."
        )
    paths = map(Naming(manifest.base_dir).path, manifest.sources)
    return [path for path in paths if not prune or os.path.lexists(path)]


def roots_of(manifest: Manifest, paths: Paths | None) -> list[str]:
    """The files and folders that a batch began with, and is to go on with."""
    given = map(os.fspath, paths) if isinstance(paths, Sequence) else ()
    return [*map(Naming(manifest.base_dir).path, manifest.sources or ()), *given]


def known_total(paths: Paths, rules: ScanRules, *, reads_files: bool) -> int:
    """How many documents ``paths`` are, 0 if that takes a scan to know."""
    if not isinstance(paths, Sized) or rules.files_from is not None:
        return 0
    if reads_files and any(map(os.path.isdir, paths)):
        return 0
    return len(paths)
