"""What a batch is made of, as the disk shows it now: seen, gone or hidden.

Only a file that the system says does not exist (ENOENT, ENOTDIR), below a folder that is there, is
gone, and leaves the index. Whatever else keeps it from being seen (an unmounted share, a folder
without permission, an I/O error) hides it, and a hidden document is kept as it is. So a resume
looks before it works, and refuses what looks like an accident:

- a source is missing, or a folder of it cannot be read;
- more than a tenth of the documents, and more than five, are gone, hidden or emptied;
- all documents of the batch, or of one of its source folders, are gone.

``prune`` allows all of it: what is gone, and what lies in missing and unreadable folders, is then
dropped. A single file that cannot be seen in a folder that can is kept even so.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from functools import lru_cache
from itertools import islice

from lesson15.documents.loaders import loaders
from lesson15.documents.scan import is_absent
from lesson15.engine.feed import Naming, file_fingerprint
from lesson15.engine.observers import Observers
from lesson15.engine.writer import Writer
from lesson15.errors import SourcesLostError, SourcesMissingError
from lesson15.events import DocRemoved, DocSettled, now
from lesson15.logs import get_logger
from lesson15.models import DocStatus, RunSummary
from lesson15.stores.catalog import Catalog

log = get_logger(__name__)
Path = str | os.PathLike[str]

_A_HANDFUL = 5
_MOST_GONE = 0.1
_SLICE = 500
_MOST_NAMED = 5
_WITH_FILES = "detail IS NOT NULL AND status <> 'skipped'"


class Presence(Enum):
    """What the system says of the file of a document."""

    HERE = "here"
    GONE = "gone"
    HIDDEN = "hidden"


def look(path: str) -> Presence:
    """Whether the file at ``path`` is there; a link whose target is missing hides it."""
    return _look(path)[0]


def _look(path: str) -> tuple[Presence, os.stat_result | None]:
    """As :func:`look`, and what the system says of a file that is there."""
    try:
        status = os.stat(path)  # noqa: PTH116 - strings, for speed
    except (FileNotFoundError, NotADirectoryError):
        return Presence.GONE if is_absent(path) else Presence.HIDDEN, None
    except (OSError, ValueError):
        return Presence.HIDDEN, None
    return Presence.HERE, status


def is_unseen(path: str) -> bool:
    """Whether a file that could not be read may be the document still: no folder, pipe or such."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - as above
    except OSError:
        return True


def trouble_of(folder: str) -> OSError | None:
    """The error that keeps the files of ``folder`` from being seen; None if it is not to blame."""
    try:
        os.stat(os.path.join(folder, os.curdir))  # noqa: PTH116, PTH118 - as above
        with os.scandir(folder) as entries:
            next(entries, None)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error
    return None


class Sources:
    """The documents of one batch.

    Args:
        batch_id: for messages.
        naming: how paths become ids.
        paths: what the batch was begun with, and what it is to go on with: files, and folders;
            None where that is a stream, which names no folders.
        reads_files: whether documents are files at all.
        prune: drop what is gone, however much that is.
    """

    def __init__(
        self,
        batch_id: str,
        naming: Naming,
        paths: Iterable[Path] | None,
        *,
        reads_files: bool = True,
        prune: bool = False,
    ) -> None:
        self._batch_id = batch_id
        self._naming = naming
        self._roots = {os.path.abspath(path) for path in paths or ()}  # noqa: PTH100 - as above
        self.reads_files = reads_files
        self._prune = prune
        self._root_of = lru_cache(1024)(self._find_root)
        self._trouble_of = lru_cache(1024)(trouble_of)

    def fingerprint(self, path: str) -> list[int] | None:
        """Size and times of the document at ``path``, None if it cannot be seen or is no file."""
        return file_fingerprint(path) if self.reads_files else None

    def ids_of(self, paths: Iterable[str]) -> set[str]:
        """The ids of the documents at ``paths``."""
        return set(map(self._naming.doc_id, paths))

    def check(self, catalog: Catalog, *, is_retry: bool = False) -> Survey:
        """Look at every document that ``catalog`` has a verdict on; blocks, so use a thread.

        A retry looks at the failed ones alone, of which any number may be gone.

        Raises:
            SourcesMissingError: what is gone or hidden looks like an accident, and may not be
                pruned.
        """
        survey = Survey()
        if not self.reads_files:
            return survey
        self._trouble_of.cache_clear()
        self._look_at_roots(catalog, survey)
        counted = DocStatus.FAILED if is_retry else DocStatus.DONE
        for verdict in catalog.scan(_WITH_FILES):
            if _is_of_file(verdict) and (not is_retry or verdict.status is counted):
                self._look_at(verdict, survey, is_counted=verdict.status is counted)
        if not self._prune:
            problems = survey.problems()
            if not is_retry:
                problems += survey.losses(self._roots)
            if problems:
                raise SourcesMissingError(batch_id=self._batch_id, problems=_listed(problems))
        return survey

    def _look_at_roots(self, catalog: Catalog, survey: Survey) -> None:
        """A source that is missing is a folder, unless it is known, or named, as a document is."""
        for root in sorted(self._roots):
            if look(root) is not Presence.HERE:
                is_named = os.path.splitext(root)[1].lower() in loaders()  # noqa: PTH122 - as above
                if not is_named and not catalog.lookup([self._naming.doc_id(root)]):
                    survey.missing[root] += 0

    def _look_at(self, verdict: DocSettled, survey: Survey, *, is_counted: bool) -> None:
        path = self._naming.path(verdict.doc_id)
        presence, status = _look(path)
        if presence is Presence.HERE:
            survey.removable += verdict.status is DocStatus.FAILED and _is_listable(path)
        else:
            survey.removable += 1
        if not is_counted:
            return
        folder = os.path.dirname(path)  # noqa: PTH120 - as above
        root = self._root_of(folder)
        survey.total[root] += 1
        if status is not None:
            if not status.st_size:
                survey.emptied += 1
                survey.emptied_example = survey.emptied_example or path
            return
        if look(root) is not Presence.HERE:
            survey.missing[root] += 1
        elif presence is Presence.GONE:
            survey.gone[root] += 1
        elif error := self._trouble_of(folder):
            survey.unreadable[f"{folder} cannot be read ({error.strerror})"] += 1
        else:
            survey.hidden += 1
            survey.example = survey.example or path
            log.warning("document cannot be seen and is kept as it is", path=path)

    def _find_root(self, folder: str) -> str:
        """The source that ``folder`` lies in; itself if there is none, for files named alone."""
        place = folder
        while place not in self._roots:
            parent = os.path.dirname(place)  # noqa: PTH120 - as above
            if parent == place:
                return folder
            place = parent
        return place

    def is_to_go(self, verdict: DocSettled, unlisted: Collection[str] = ()) -> bool:
        """Whether a document that the batch has a verdict on is to leave it.

        ``unlisted`` are the ids of what the run could not list, though it may look well by now:
        documents that lie there have not been seen.
        """
        if not _is_of_file(verdict) or verdict.doc_id in unlisted:
            return False
        path = self._naming.path(verdict.doc_id)
        presence = look(path)
        if presence is Presence.HERE:  # a folder is no document once it can be listed
            return verdict.status is DocStatus.FAILED and _is_listable(path)
        folder = os.path.dirname(path)  # noqa: PTH120 - as above
        if presence is Presence.GONE:
            return self._prune or look(self._root_of(folder)) is Presence.HERE
        return self._prune and self._trouble_of(folder) is not None


class Survey:
    """What :meth:`Sources.check` saw, as counts of documents.

    Attributes:
        total: documents by root.
        gone: those that are gone, by root.
        missing: those of roots that are not there.
        unreadable: those of folders that cannot be read, by what is said of the folder.
        hidden: those that cannot be seen in a folder that can.
        example: one of these.
        emptied: those that had text and whose files have no byte now.
        emptied_example: one of these.
        removable: verdicts that may have to go, of failed documents too.
    """

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        self.gone: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()
        self.hidden = 0
        self.example = ""
        self.emptied = 0
        self.emptied_example = ""
        self.removable = 0

    def problems(self) -> list[str]:
        """Folders that are missing or cannot be read."""
        return [
            *(
                f"{root} {'is missing' if look(root) is Presence.GONE else 'cannot be seen'} "
                f"({_documents(count)})"
                for root, count in self.missing.items()
            ),
            *(f"{text} ({_documents(count)})" for text, count in self.unreadable.items()),
        ]

    def losses(self, roots: set[str]) -> list[str]:
        """Where more is gone than is deleted by hand; ``roots`` are the sources."""
        found = [
            f"all of {_documents(self.total[root])} below {root} are gone"
            for root, count in self.gone.items()
            if count == self.total[root] and (root in roots or len(self.total) == 1)
        ]
        total, gone = self.total.total(), self.gone.total()
        away = gone + self.hidden
        if not found and gone and gone == total:
            found = [f"all of {_documents(total)} are gone"]
        if not found and away > _A_HANDFUL and away > _MOST_GONE * total:
            if gone:
                places = ", ".join(islice(self.gone, _MOST_NAMED))
                found.append(f"{gone} of {_documents(total)} are gone below {places}")
            if self.hidden:
                found.append(
                    f"{self.hidden} of {_documents(total)} cannot be seen, such as {self.example}"
                )
        if self.emptied > _A_HANDFUL and self.emptied > _MOST_GONE * total:
            found.append(
                f"{self.emptied} of {_documents(total)} are empty now, such as "
                f"{self.emptied_example}"
            )
        return found


def _is_of_file(verdict: DocSettled) -> bool:
    """Whether a verdict is of a file or folder; one that failed may never have been seen."""
    return bool(verdict.fingerprint) or verdict.status is DocStatus.FAILED


def _documents(count: int) -> str:
    return f"{count} document{'' if count == 1 else 's'}"


def _listed(problems: Sequence[str]) -> str:
    more = len(problems) - _MOST_NAMED
    text = "; ".join(problems[:_MOST_NAMED])
    return f"{text}; and {more} more" if more > 0 else text


def _is_listable(path: str) -> bool:
    return os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK)  # noqa: PTH112 - as above


async def drop_what_is_gone(
    sources: Sources,
    writer: Writer,
    observers: Observers,
    summary: RunSummary,
    unlisted: Collection[str] = (),
    *,
    is_retry: bool,
) -> None:
    """Take documents whose files are gone out of the batch, the failed ones alone in a retry.

    ``unlisted`` are the ids of what could not be listed in this run.

    Raises:
        SourcesMissingError: so much of what a retry is to work on is gone that it looks like an
            accident; nothing has been changed.
        SourcesLostError: so much went away while the batch ran.
    """

    def part() -> list[tuple[DocSettled, bool]]:
        found = islice(verdicts, _SLICE)
        return [(verdict, sources.is_to_go(verdict, unlisted)) for verdict in found]

    try:
        await writer.in_thread(lambda: sources.check(writer.catalog, is_retry=is_retry))
    except SourcesMissingError as error:
        if is_retry:
            raise
        raise SourcesLostError(**error.fields) from error
    where = f"{_WITH_FILES} AND status = 'failed'" if is_retry else _WITH_FILES
    verdicts = writer.catalog.scan(where)
    while judged := await writer.in_thread(part):
        for verdict, is_to_go in judged:
            if is_to_go:
                event = DocRemoved(doc_id=verdict.doc_id, at=now())
                summary.dropped += 1
                observers.tell(await writer.settle(event, verdict))
    await writer.commit()
