"""Every error that lesson15 raises on purpose.

A class's docstring is its message: ``BatchNotFoundError(batch_id="x")`` fills the braces. Each
message names the input and the remedy. Which *kind* an error is decides what the recovery policy
does with it (see :mod:`lesson15.recovery`) and how the CLI exits.
"""

from __future__ import annotations

import inspect
from typing import Any


class Lesson15Error(Exception):
    """lesson15 failed."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        template = inspect.cleandoc(type(self).__doc__ or "")
        super().__init__(" ".join(template.split()).format_map(fields))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.fields)


def _rebuild(kind: type[Lesson15Error], fields: dict[str, Any]) -> Lesson15Error:
    return kind(**fields)


# --- bad usage or input: the CLI exits 2 -----------------------------------------------------


class UsageError(Lesson15Error):
    """{problem}"""


class BatchNotFoundError(UsageError):
    """No batch {batch_id!r} in {state_dir}. `lesson15 list --state-dir {state_dir}` shows those
    that are there.
    """


class BatchExistsError(UsageError):
    """Batch {batch_id!r} already exists in {state_dir}. Continue it with `lesson15 resume
    {batch_id}`, or choose another --batch-id.
    """


class EventOutOfRangeError(UsageError):
    """Batch {batch_id!r} has no event {n}: give a number from 0 to {count}."""


class InvalidKeyError(UsageError):
    """No encryption key can be taken from {source}: {detail}."""


class BatchKeyError(UsageError):
    """Batch {batch_id!r} is encrypted with the key {key_id!r}, {detail}. Set
    LESSON15_ENCRYPTION_KEY to it, or put it as `{key_id}:KEY` into the file that
    LESSON15_ENCRYPTION_KEY_FILE names.
    """


class InvalidBatchIdError(UsageError):
    """{batch_id!r} is not a batch id. Use 1 to 100 letters, digits, dots, dashes or underscores,
    starting with a letter or a digit.
    """


class PathNotFoundError(UsageError):
    """{path}: no such file or directory. Check the spelling, and that it is readable from
    {cwd}.
    """


class NoDocumentsError(UsageError):
    """No documents to process in {paths}. Supported types: {types}."""


class SessionError(UsageError):
    """Cannot {action} batch {batch_id!r}: it is {status}. That needs a batch that is {allowed}."""


class CourseMaterialError(UsageError):
    """There are no notebooks and sample documents in {root}. They are part of the source: install
    lesson15 from a checkout with `pip install -e .`
    """


class BatchLockedError(UsageError):
    """Batch {batch_id!r} is being worked on by another process ({owner}). Wait for it to end, or
    stop it, and try again.
    """


class MissingDependencyError(UsageError):
    """{feature} needs the package {package!r}, which is not installed. Install it with
    `pip install {package}`.
    """


class UnknownNameError(UsageError):
    """There is no {what} {name!r}. Choose one of: {choices}."""


class PluginError(UsageError):
    """The plugin {name!r} of the package {package!r} in the group {group} cannot be used
    ({detail}). Upgrade {package}, or uninstall it with `pip uninstall {package}`.
    """


class SettingsMismatchError(UsageError):
    """Batch {batch_id!r} was made with {name}={stored!r} and cannot go on with {given!r}. Resume
    it with {name}={stored!r}, or start a new batch.
    """


class FaultPlanError(UsageError):
    """The fault plan {source} cannot be used: {detail}. `lesson15 fault points` shows which kinds
    of faults go where.
    """


# --- one document is at fault: it goes to the dead-letter list --------------------------------


class DocumentError(Lesson15Error):
    """{path}: {detail}"""


class UnsupportedFormatError(DocumentError):
    """{path}: files of type {suffix!r} are not supported. Supported types: {types}."""


class EmptyDocumentError(DocumentError):
    """{path}: the file is empty."""


class NoTextError(DocumentError):
    """{path}: no text was found in it ({detail}). Scanned pages need OCR first."""


class BinaryDocumentError(DocumentError):
    """{path}: this is binary data, not {expected}. Rename it to its true type or leave it out."""


class TruncatedDocumentError(DocumentError):
    """{path}: the file is cut short ({detail}). Copy it again from its source."""


class MalformedDocumentError(DocumentError):
    """{path}: the file is not valid {expected} ({detail}). Repair it or export it again."""


class EncryptedDocumentError(DocumentError):
    """{path}: the file is protected by a password. Save a copy without one."""


class DocumentTooLargeError(DocumentError):
    """{path}: {size} bytes is over the limit of {limit} bytes. Split the file, or raise
    LESSON15_MAX_DOCUMENT_BYTES.
    """


class UnreadableDocumentError(DocumentError):
    """{path}: the file cannot be read ({detail}). Check its permissions and its disk."""


class OutsideRootsError(DocumentError):
    """{path}: it leads outside of the folders that may be read. Copy the file into one of them."""


class DocumentChangedError(DocumentError):
    """{path}: the file changed while it was being read."""


class ParserCrashedError(DocumentError):
    """{path}: the parser process died on this document ({detail}). The document is set aside."""


class ParseTimeoutError(DocumentError):
    """{path}: parsing took longer than {seconds} s and was stopped. Raise LESSON15_PARSE_TIMEOUT
    if the document is sound.
    """


class WorkerLostError(DocumentError):
    """{path}: {count} workers in a row died or hung while they worked on it. The document is set
    aside.
    """


class InvalidResultError(DocumentError):
    """{path}: the result failed validation ({detail})."""


class DocumentNotFoundError(Lesson15Error, FileNotFoundError):
    """{path}: no such file; it was skipped. Put it back and resume to have it done."""


# --- a passing trouble: worth another try ------------------------------------------------------


class NetworkTimeoutError(Lesson15Error, TimeoutError):
    """{operation} timed out after {seconds} s."""


class StepTimeoutError(NetworkTimeoutError):
    """The step {step!r} took longer than {seconds} s. Raise LESSON15_{setting} if that is
    expected.
    """


class OutOfMemoryError(Lesson15Error, MemoryError):
    """{path}: not enough memory to process this document ({detail}). Lower --max-concurrent or
    raise LESSON15_PARSER_MEMORY_BYTES.
    """


# --- the system is at fault: the batch aborts, its checkpoint stays; the CLI exits 3 -----------


class StorageError(Lesson15Error):
    """{path}: {detail}"""


class CheckpointWriteError(StorageError):
    """The checkpoint at {path} could not be written ({detail}). What was committed before is
    safe: free the disk or fix the permissions, then run `lesson15 resume`.
    """


class StateReadError(StorageError):
    """The state at {path} cannot be read ({detail}). Fix its permissions or its disk, or restore
    the folder from a backup, and try again.
    """


class CatalogError(StorageError):
    """The catalogue at {path} failed ({detail}). It is derived from the journal: free the disk, fix
    the permissions or delete the file, then run `lesson15 resume`.
    """


class CorruptCheckpointError(StorageError):
    """The state at {path} is damaged ({detail}). `lesson15 verify` tells how far; restore the
    folder from a backup, or start a new batch.
    """


class SchemaTooNewError(StorageError):
    """The checkpoint at {path} has schema version {found}, and this lesson15 reads up to
    {supported}. Upgrade lesson15.
    """


class BrokerUnavailableError(StorageError):
    """The broker at {url} cannot be reached ({detail}). Start it, or correct --broker or
    LESSON15_BROKER_URL; what was done is safe.
    """


class ShardFailedError(StorageError):
    """A shard failed on every attempt, the last time on {owner} ({detail}). Mend that, then run
    `lesson15 resume`.
    """


class EmbeddingModelError(Lesson15Error):
    """The embedding model {model!r} could not be loaded ({detail}). `lesson15 doctor` checks the
    installation.
    """


# --- the service refuses a request: see lesson15.api.problems for the HTTP status ---------------


class ServiceError(UsageError):
    """{problem}"""


class ServiceUnreachableError(ServiceError):
    """The service at {url} does not answer ({detail}). Start it with `lesson15 serve`, or say where
    it is with LESSON15_WEB_SERVICE_URL.
    """


class AuthenticationError(ServiceError):
    """No valid API key came with the request. Send it as `X-API-Key: KEY` or as
    `Authorization: Bearer KEY`; `lesson15 keys add` makes one.
    """


class RoleError(ServiceError):
    """This needs a key with the role {needed}; yours has the role {role}."""


class OwnBatchNotFoundError(ServiceError):
    """You have no batch {batch_id!r}. GET /batch/list shows those that you have."""


class OwnFileNotFoundError(ServiceError):
    """You have no file {name!r}. GET /files shows those that you have."""


class KeyNotFoundError(ServiceError):
    """There is no valid key {key_id!r}. `lesson15 keys list` shows those that are there."""


class PathNotAllowedError(ServiceError):
    """{path}: this is outside of the folders that you may use. Upload the file with POST /files,
    or name one under a folder that GET /files lists in `roots`.
    """


class DocumentPathError(ServiceError):
    """{path}: there is no document here. GET /files shows your files; supported types: {types}."""


class BatchStateError(ServiceError):
    """Batch {batch_id!r} is {status}; it cannot be {action} now."""


class FaultsNotAllowedError(ServiceError):
    """This server lets no batch fail on purpose. Start it with LESSON15_SERVICE_ALLOW_FAULTS=1."""


class TooManyRequestsError(ServiceError):
    """Too many {what}: the limit is {limit}. Try again in {seconds} s."""


class RequestTooLargeError(ServiceError):
    """{what} is over the limit of {limit}. Send less at a time."""


class UploadNameError(ServiceError):
    """{name!r} cannot be the name of an upload ({detail}). Use a plain file name of one of the
    types {types}.
    """


class ServiceRunningError(ServiceError):
    """Another server works on {path}. Stop it, or give this one a LESSON15_SERVICE_STATE_DIR of
    its own.
    """


# --- the other side of a call: see lesson15.recovery and lesson15.embedding.calls ----------------


class TransientServiceError(Lesson15Error):
    """{detail}"""

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(detail=detail, retry_after=retry_after)


class RateLimited(TransientServiceError):  # noqa: N818 - a public name that says what happened
    """{detail}"""

    def __init__(
        self, retry_after: float | None = None, detail: str = "The service wants fewer requests."
    ) -> None:
        super().__init__(detail, retry_after)


class ServiceUnavailable(TransientServiceError):  # noqa: N818 - as RateLimited
    """{detail}"""

    def __init__(
        self, detail: str = "The service is away.", retry_after: float | None = None
    ) -> None:
        super().__init__(detail, retry_after)


class InvalidAnswerError(Lesson15Error):
    """The embedder {embedder!r} gave {detail}."""


class RepeatedCallError(Lesson15Error):
    """{kind}: {error} (the call of the embedder was made {attempts} times)"""

    def __init__(self, error: Exception, attempts: int, kind: str = "") -> None:
        self.error = error
        self.attempts = attempts
        super().__init__(error=error, attempts=attempts, kind=kind or type(error).__name__)


class RefusedTextError(Lesson15Error):
    """The embedder {embedder!r} accepts other texts and refuses a chunk of {characters} characters
    of this document ({detail}). Lower LESSON15_CHUNK_CHARS if it is too long.
    """


class ServiceOutageError(StorageError):
    """The embedding service {embedder!r} has been away for {seconds} s ({detail}). What was
    committed is safe: run `lesson15 resume` once it is back, or raise LESSON15_OUTAGE_PATIENCE to
    wait longer.
    """


class EmbedderRefusedError(EmbeddingModelError):
    """The embedder {model!r} refuses every text ({detail}). Check its address, its model and its
    key; then run `lesson15 resume`.
    """


class EmbedderNameError(UsageError):
    """The embedder {name!r} cannot be used: {detail}. Give {form}."""
