"""The plain values that every layer shares: no I/O and no behaviour beyond arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class DocStatus(StrEnum):
    """Where one document stands in a batch."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    REMOVED = "removed"


class BatchStatus(StrEnum):
    """Where a whole batch stands. ``RUNNING`` on disk without a live lock means it was killed."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class ScanRules:
    """Which files of a folder are documents; files that are named one by one always are.

    Hidden files, lock files of editors (``~$x.docx``) and ``node_modules`` never are. Patterns are
    those of ``.gitignore``, relative to the folder that is scanned.

    Attributes:
        include: take only files that one of these patterns matches; all if there is none.
        exclude: leave out files and folders that one of these patterns matches.
        gitignore: leave out what the ``.gitignore`` files say, as git does.
        files_from: a file with a list of further paths, one a line.
        null_separated: paths in that list end with a NUL instead of a newline.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = False
    files_from: str | None = None
    null_separated: bool = False


@dataclass(slots=True)
class BatchState:
    """The counts of a batch, as its checkpoint keeps them.

    ``total_docs`` is 0 while the documents are still being counted. ``current_progress`` is a
    percentage from 0 to 100, and 0 until then. Times are seconds since the epoch (UTC).
    """

    batch_id: str
    total_docs: int = 0
    processed_docs: int = 0
    failed_docs: int = 0
    current_progress: float = 0.0
    start_time: float = 0.0
    last_checkpoint: float | None = None
    skipped_docs: int = 0
    chunks: int = 0
    status: BatchStatus = BatchStatus.RUNNING
    seconds: float = 0.0

    @property
    def settled_docs(self) -> int:
        """Documents with a verdict: processed, failed or skipped."""
        return self.processed_docs + self.failed_docs + self.skipped_docs

    def to_dict(self) -> dict[str, Any]:
        """This state as JSON-ready values."""
        return asdict(self)


@dataclass(slots=True)
class ProcessingResult:
    """What became of one document. ``processing_time`` is in seconds, ``timestamp`` is epoch."""

    doc_id: str
    success: bool
    error_message: str | None = None
    processing_time: float = 0.0
    timestamp: float = 0.0
    batch_id: str = ""
    chunks: int = 0
    attempts: int = 1
    error_type: str | None = None
    status: DocStatus = DocStatus.DONE


@dataclass(slots=True)
class ProgressInfo:
    """One reading of a batch's progress.

    ``total`` is 0, and ``progress_percent`` too, while the documents are still being counted;
    ``eta`` is the estimated number of seconds left, None while nothing can be estimated;
    ``rate`` is documents a second over the recent past; ``updated_at`` is epoch seconds.
    """

    batch_id: str
    progress_percent: float
    completed: int
    failed: int
    total: int
    eta: float | None
    updated_at: float
    rate: float = 0.0


@dataclass(slots=True)
class Failure:
    """One entry of the dead-letter list."""

    doc_id: str
    error: str
    attempts: int


@dataclass(slots=True)
class RunSummary:
    """What one run did, as opposed to where the batch stands after it.

    Attributes:
        new: documents that were done and that the index did not have.
        updated: documents that were done again, as their content had changed.
        unchanged: documents that were left as they were, failed ones among them.
        dropped: documents that left the batch, as their files are gone.
        failed: documents that failed.
        skipped: documents that were skipped, as there was no such file.
        hidden: documents that could not be seen or read, and were kept as they were.
        unsupported: files that were passed over, by suffix ("" for none).
        seconds: how long the run took, with recovery and saving the index.
    """

    new: int = 0
    updated: int = 0
    unchanged: int = 0
    dropped: int = 0
    failed: int = 0
    skipped: int = 0
    hidden: int = 0
    unsupported: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(slots=True)
class BatchReport:
    """The result of a run, with the keys of the CLI's ``--json`` object.

    ``run`` is what this run did, None where that was not counted; the other counts, and
    ``seconds``, are of the batch, over all its runs.
    """

    batch_id: str
    total_docs: int
    processed_docs: int
    failed_docs: int
    skipped_docs: int
    chunks: int
    seconds: float
    failures: list[Failure] = field(default_factory=list)
    status: BatchStatus = BatchStatus.FINISHED
    error: str | None = None
    run: RunSummary | None = None

    @classmethod
    def of(
        cls,
        state: BatchState,
        status: BatchStatus,
        failures: list[Failure],
        error: str | None = None,
        run: RunSummary | None = None,
    ) -> BatchReport:
        """The report of a run that ended with ``status`` and left ``state``."""
        return cls(
            batch_id=state.batch_id,
            total_docs=state.total_docs,
            processed_docs=state.processed_docs,
            failed_docs=state.failed_docs,
            skipped_docs=state.skipped_docs,
            chunks=state.chunks,
            seconds=round(state.seconds, 3),
            failures=failures,
            status=status,
            error=error,
            run=run,
        )

    def to_dict(self) -> dict[str, Any]:
        """This report as JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document that is embedded and found as one.

    ``meta`` says where it comes from, in JSON values. Loaders and steps may add any key; these are
    well known:

    ========  ====================================================================================
    page      the page it is on, an integer from 1
    heading   the headings above it, a list of strings, the outermost first
    span      ``[start, end]``: which characters of the document's extracted, normalised text it is
              (see :func:`lesson15.documents.parsing.read_document`)
    title     the title of its document
    language  the language of its document, as in HTML (BCP 47): "en", "zh-Hant"
    ========  ====================================================================================

    ``span`` keeps saying where the text came from when a step changes the text.

    Example:
        >>> Chunk("Keep three copies.", {"page": 2, "heading": ["Backups"]}).meta["page"]
        2
    """

    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class SearchHit:
    """One chunk found by a search; ``score`` is the cosine similarity, from -1 to 1.

    ``meta`` is that of the :class:`Chunk`; ``page``, ``heading`` and ``span`` are taken from it,
    None where they are not known.
    """

    doc_id: str
    chunk: int
    score: float
    text: str
    page: int | None = None
    heading: list[str] | None = None
    span: tuple[int, int] | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, doc_id: str, number: int, score: float, chunk: Chunk) -> SearchHit:
        """The hit of ``chunk``, which is number ``number`` of the document, from 0."""
        meta = dict(chunk.meta)
        span = meta.get("span")
        return cls(
            doc_id=doc_id,
            chunk=number,
            score=score,
            text=chunk.text,
            page=meta.get("page"),
            heading=meta.get("heading"),
            span=None if span is None else (span[0], span[1]),
            meta=meta,
        )
