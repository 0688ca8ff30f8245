"""What goes in and out over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from lesson15.api.jobs import JobState
from lesson15.api.keys import USER_PATTERN, Role
from lesson15.faults import FaultPlan

BATCH_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
BatchId = Annotated[
    str, Field(pattern=BATCH_ID_PATTERN, description="Name of a batch.", examples=["monday"])
]
DocPath = Annotated[str, Field(min_length=1, max_length=4096, examples=["report.pdf"])]
DocPaths = Annotated[
    list[DocPath],
    Field(
        min_length=1,
        max_length=1000,
        description="Files, or folders to scan; relative ones are among your uploads.",
        examples=[["report.pdf"], ["."]],
    ),
]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProcessRequest(_In):
    """A new batch."""

    doc_paths: DocPaths
    batch_id: BatchId | None = Field(None, description="Left out: one is made up.")


class ResumeRequest(_In):
    """How to go on with a batch."""

    doc_paths: DocPaths | None = Field(None, description="Left out: those it began with.")


class KeyRequest(_In):
    """A new key."""

    user: Annotated[str, Field(pattern=USER_PATTERN, examples=["alice"])]
    role: Role


class Accepted(BaseModel):
    """A batch was put on disk and in the queue."""

    message: str
    batch_id: BatchId
    total_files: int


class Done(BaseModel):
    """Something was done to a batch."""

    message: str
    batch_id: BatchId


class Status(BaseModel):
    """How far a batch is; ``eta`` is in seconds."""

    batch_id: BatchId
    total_docs: int
    processed_docs: int
    failed_docs: int
    progress_percent: float = Field(ge=0, le=100)
    eta: float | None


class Detail(Status):
    """All about a batch; also what its events carry. ``rate`` is documents a second."""

    status: JobState
    skipped_docs: int
    chunks: int
    rate: float
    error: str | None


class Active(BaseModel):
    """The batches that are queued or running."""

    active_batches: list[BatchId]
    total_count: int


class Batches(BaseModel):
    """All batches of a user, oldest first."""

    batches: list[Detail]
    total_count: int


class FailureEntry(BaseModel):
    """One entry of the dead-letter list."""

    doc_id: str
    error: str
    attempts: int


class Failures(BaseModel):
    """A part of the dead-letter list; ``total_count`` is that of the whole."""

    batch_id: BatchId
    failures: list[FailureEntry]
    total_count: int


class Hit(BaseModel):
    """One chunk found; ``score`` is the cosine similarity.

    ``page`` counts from 1, ``heading`` has the outermost first, and ``span`` is in characters of
    the document's text; null where they are not known. ``meta`` has these and all else that is.
    """

    doc_id: str
    chunk: int
    score: float
    text: str
    page: int | None
    heading: list[str] | None
    span: tuple[int, int] | None
    meta: dict[str, Any]


class SearchResult(BaseModel):
    """The chunks nearest to a query, best first."""

    query: str
    batch_id: BatchId
    hits: list[Hit]


class Faults(BaseModel):
    """The fault plan in force, and how often each fault struck, by "point:kind"."""

    batch_id: BatchId
    plan: FaultPlan
    fired: dict[str, int]


class StoredFile(BaseModel):
    """One upload; ``modified_at`` is in seconds since the epoch."""

    name: str
    size: int
    modified_at: float


class Files(BaseModel):
    """The uploads of a user, and the shared folders whose documents may be processed too."""

    files: list[StoredFile]
    total_bytes: int
    roots: list[str]


class Key(BaseModel):
    """What is known of an API key; times are in seconds since the epoch."""

    key_id: str
    user: str
    role: Role
    created_at: float
    revoked_at: float | None


class NewKey(Key):
    """A new key, with the secret, which is never shown again."""

    key: str


class Keys(BaseModel):
    """All keys ever made."""

    keys: list[Key]


class Health(BaseModel):
    """The server answers."""

    status: str = Field(examples=["ok"])
    version: str


class Problem(BaseModel):
    """What went wrong and what to do about it (RFC 9457)."""

    type: str = Field(examples=["urn:lesson15:OwnBatchNotFoundError"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["You have no batch 'monday'. GET /batch/list shows yours."])
    errors: list[dict[str, Any]] | None = Field(None, description="The faulty fields.")
