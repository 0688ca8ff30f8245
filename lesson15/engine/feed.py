"""The streaming source: paths in, documents that need work out, a slice at a time.

Memory does not grow with the batch. A slice is read from the source, documents that are settled
and unchanged are dropped by one look-up in the catalogue, and duplicates of documents that are fed
but not yet committed are dropped by a set of exactly those.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import islice
from urllib.parse import quote_from_bytes, unquote_to_bytes

from lesson15.checkpoint.state_files import Manifest
from lesson15.documents.parsed import Fingerprint
from lesson15.documents.scan import Scan, read_list
from lesson15.engine.work import SourceDocument
from lesson15.errors import UsageError
from lesson15.events import DocSettled, Event
from lesson15.models import ScanRules
from lesson15.stores.catalog import Catalog

Paths = Iterable[str | os.PathLike[str]]
STANDARD_INPUT = "-"
ReadFingerprint = Callable[[str], list[int] | None]
"""Reads size and times of a file, to see whether it changed; None if it cannot be seen."""

_SLICE = 256
_ENCODED = "//"


class Naming:
    """Document ids: the path relative to the batch's base folder, or absolute outside of it.

    Ids are stored as UTF-8. A name in another encoding is percent-encoded behind two slashes, with
    which no other id begins: ``//docs/caf%E9.txt``.
    """

    def __init__(self, base_dir: str) -> None:
        self._base = os.path.abspath(base_dir)  # noqa: PTH100 - links are left as they are
        self._prefix = self._base.rstrip(os.sep) + os.sep
        self._base_is_here = os.getcwd() == self._base  # noqa: PTH109 - strings, for speed

    def doc_id(self, path: str | os.PathLike[str]) -> str:
        """The id of the document at ``path``, which is relative to the working folder."""
        text = os.fspath(path)
        if self._base_is_here and text[:1] not in "./" and "//" not in text and "/." not in text:
            name = text  # already as it should be: the common case, without a normalisation
        else:
            full = os.path.abspath(text).replace("//", "/", 1)  # noqa: PTH100 - as above
            name = full[len(self._prefix) :] if full.startswith(self._prefix) else full
        if name.isascii():
            return name
        in_bytes = os.fsencode(name)  # which the locale of this process has no part in
        try:
            return in_bytes.decode()
        except UnicodeDecodeError:
            return _ENCODED + quote_from_bytes(in_bytes)

    def path(self, doc_id: str) -> str:
        """Where the document lies."""
        if doc_id.startswith(_ENCODED):
            doc_id = os.fsdecode(unquote_to_bytes(doc_id[len(_ENCODED) :]))
        elif not doc_id.isascii():
            doc_id = os.fsdecode(doc_id.encode())
        return os.path.join(self._base, doc_id)  # noqa: PTH118 - strings, for speed


def file_fingerprint(path: str) -> list[int] | None:
    """Size and times of the file at ``path``, None if it cannot be seen."""
    try:
        return list(Fingerprint.of(path))
    except (OSError, ValueError):  # a NUL byte is in no name of a file
        return None


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


class Feed:
    """Hands out documents one by one.

    Args:
        paths: the source; iterated in a thread, so it may block.
        naming: how paths become ids.
        catalog: a connection of this feed's own.
        fingerprint: tells whether a document has changed.
        is_forced: hand out settled documents too (``retry-failed``).
    """

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        naming: Naming,
        catalog: Catalog,
        fingerprint: ReadFingerprint = file_fingerprint,
        *,
        is_forced: bool = False,
    ) -> None:
        self._paths: Iterator[str | os.PathLike[str]] | None = iter(paths)
        self.naming = naming
        self._catalog = catalog
        self._fingerprint = fingerprint
        self._is_forced = is_forced
        self._ready: deque[SourceDocument] = deque()
        self._uncommitted: set[str] = set()
        self._refilling = asyncio.Lock()

    async def next(self) -> SourceDocument | None:
        """The next document, None at the end of the source."""
        while not self._ready:
            async with self._refilling:
                if self._ready:
                    break
                if self._paths is None:
                    return None
                documents = await asyncio.to_thread(self._read, self._paths)
                if documents is None:
                    self._paths = None
                else:
                    self._ready.extend(documents)
        return self._ready.popleft()

    def _read(self, paths: Iterator[str | os.PathLike[str]]) -> list[SourceDocument] | None:
        """Those of the next slice that need work, None at the end of the source; in a thread."""
        doc_id = self.naming.doc_id
        ids = list(dict.fromkeys(doc_id(path) for path in islice(paths, _SLICE)))
        if not ids:
            return None
        # Ids fed and not committed at this point are dropped here; those committed before it are
        # in the catalogue, which is read after it. So no duplicate slips between the two.
        fresh = [doc_id for doc_id in ids if doc_id not in self._uncommitted]
        settled = self._catalog.lookup(fresh) if fresh else {}
        if self._is_forced:  # whatever was made of the content before
            settled = {doc_id: replace(verdict, sha256=None) for doc_id, verdict in settled.items()}
        path = self.naming.path
        documents = [
            SourceDocument(doc_id, path(doc_id), settled.get(doc_id))
            for doc_id in fresh
            if doc_id not in settled or self._needs_work(settled[doc_id])
        ]
        self._uncommitted.update([document.doc_id for document in documents])
        return documents

    def _needs_work(self, verdict: DocSettled) -> bool:
        if self._is_forced:
            return True
        found = self._fingerprint(self.naming.path(verdict.doc_id))
        # What is gone or hidden is judged elsewhere: see lesson15.engine.sources.
        return found is not None and found != verdict.fingerprint

    def committed(self, events: Iterable[Event]) -> None:
        """Forget documents that the catalogue now knows."""
        self._uncommitted.difference_update(
            [event.doc_id for event in events if isinstance(event, DocSettled)]
        )
