"""Every error that lesson15 raises on purpose.

``BatchNotFoundError(batch_id="x", state_dir="y")`` fills the braces of the class's ``message``,
which names the input and the remedy, and is its docstring too. The fields are keyword arguments,
checked by mypy from the annotations, and attributes. Which *kind* an error is decides what the
recovery policy does with it (see :mod:`lesson15.recovery`) and how the CLI exits.
"""

# ruff: noqa: D101 - __init_subclass__ makes the docstring of a class from its message

from __future__ import annotations

import inspect
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform


@dataclass_transform(kw_only_default=True, eq_default=False)
class Lesson15Error(Exception):
    """lesson15 failed.

    Attributes:
        message: what is said, on one line; a subclass says something of its own by setting it, with
            a field in braces for each of its annotations.
        fields: the values of the fields.

    Raises:
        TypeError: a field is missing.
    """

    message: ClassVar[str] = "lesson15 failed."
    _names: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        cls.message = " ".join(cls.message.split())
        cls.__doc__ = cls.__doc__ or cls.message  # there is none under `python -OO`
        in_message = {name for _, name, _, _ in Formatter().parse(cls.message) if name}
        cls._names = frozenset(in_message | inspect.get_annotations(cls).keys())

    def __init__(self, **fields: Any) -> None:
        if missing := self._names - fields.keys():
            raise TypeError(f"{type(self).__name__} lacks {', '.join(sorted(missing))}")
        self.fields = fields
        for name in self._names:
            setattr(self, name, fields[name])
        super().__init__(self.message.format_map(fields))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.fields)


def _rebuild(kind: type[Lesson15Error], fields: dict[str, Any]) -> Lesson15Error:
    return kind(**fields)


# --- bad usage or input: the CLI exits 2 -----------------------------------------------------


class UsageError(Lesson15Error):
    """Bad usage or input."""

    message = "{problem}"

    if TYPE_CHECKING:  # the fields of its own message, which those below do not have

        def __init__(self, *, problem: object) -> None: ...


class BatchNotFoundError(UsageError):
    batch_id: str
    state_dir: object
    message = """
    No batch {batch_id!r} in {state_dir}. `lesson15 list --state-dir {state_dir}` shows those that
    are there.
    """


class BatchExistsError(UsageError):
    batch_id: str
    state_dir: object
    message = """
    Batch {batch_id!r} already exists in {state_dir}. Continue it with `lesson15 resume {batch_id}`,
    or choose another --batch-id.
    """


class EventOutOfRangeError(UsageError):
    batch_id: str
    n: int
    count: int
    message = "Batch {batch_id!r} has no event {n}: give a number from 0 to {count}."


class InvalidKeyError(UsageError):
    source: object
    detail: object
    message = "No encryption key can be taken from {source}: {detail}."


class BatchKeyError(UsageError):
    batch_id: str
    key_id: str
    detail: object
    message = """
    Batch {batch_id!r} is encrypted with the key {key_id!r}, {detail}. Set LESSON15_ENCRYPTION_KEY
    to it, or put it as `{key_id}:KEY` into the file that LESSON15_ENCRYPTION_KEY_FILE names.
    """


class InvalidBatchIdError(UsageError):
    batch_id: str
    message = """
    {batch_id!r} is not a batch id. Use 1 to 100 letters, digits, dots, dashes or underscores,
    starting with a letter or a digit.
    """


class PathNotFoundError(UsageError):
    path: object
    cwd: object
    message = """
    {path}: no such file or directory. Check the spelling, and that it is readable from {cwd}.
    """


class NoDocumentsError(UsageError):
    paths: object
    types: str
    message = "No documents to process in {paths}. Supported types: {types}."


class SessionError(UsageError):
    action: str
    batch_id: str
    status: str
    allowed: str
    message = """
    Cannot {action} batch {batch_id!r}: it is {status}. That needs a batch that is {allowed}.
    """


class CourseMaterialError(UsageError):
    root: object
    message = """
    There are no notebooks and sample documents in {root}. They are part of the source: install
    lesson15 from a checkout with `pip install -e .`
    """


class BatchLockedError(UsageError):
    batch_id: str
    owner: str
    message = """
    Batch {batch_id!r} is being worked on by another process ({owner}). Wait for it to end, or stop
    it, and try again.
    """


class MissingDependencyError(UsageError):
    feature: str
    package: str
    message = """
    {feature} needs the package {package!r}, which is not installed. Install it with `pip install
    {package}`.
    """


class UnknownNameError(UsageError):
    what: str
    name: str
    choices: str
    message = "There is no {what} {name!r}. Choose one of: {choices}."


class PluginError(UsageError):
    name: str
    package: str
    group: str
    detail: object
    message = """
    The plugin {name!r} of the package {package!r} in the group {group} cannot be used ({detail}).
    Upgrade {package}, or uninstall it with `pip uninstall {package}`.
    """


class SettingsMismatchError(UsageError):
    batch_id: str
    name: str
    stored: object
    given: object
    message = """
    Batch {batch_id!r} was made with {name}={stored!r} and cannot go on with {given!r}. Resume it
    with {name}={stored!r}, or start a new batch.
    """


class FaultPlanError(UsageError):
    source: object
    detail: object
    message = """
    The fault plan {source} cannot be used: {detail}. `lesson15 fault points` shows which kinds of
    faults go where.
    """


# --- one document is at fault: it goes to the dead-letter list --------------------------------


class DocumentError(Lesson15Error):
    """A document is at fault."""

    path: object
    message = "{path}: {detail}"

    if TYPE_CHECKING:  # the fields of its own message, which those below do not have

        def __init__(self, *, path: object, detail: object) -> None: ...


class UnsupportedFormatError(DocumentError):
    suffix: str
    types: str
    message = "{path}: files of type {suffix!r} are not supported. Supported types: {types}."


class EmptyDocumentError(DocumentError):
    message = "{path}: the file is empty."


class NoTextError(DocumentError):
    detail: object
    message = "{path}: no text was found in it ({detail}). Scanned pages need OCR first."


class BinaryDocumentError(DocumentError):
    expected: str
    message = """
    {path}: this is binary data, not {expected}. Rename it to its true type or leave it out.
    """


class TruncatedDocumentError(DocumentError):
    detail: object
    message = "{path}: the file is cut short ({detail}). Copy it again from its source."


class MalformedDocumentError(DocumentError):
    expected: str
    detail: object
    message = "{path}: the file is not valid {expected} ({detail}). Repair it or export it again."


class EncryptedDocumentError(DocumentError):
    message = "{path}: the file is protected by a password. Save a copy without one."


class DocumentTooLargeError(DocumentError):
    size: int
    limit: object
    message = """
    {path}: {size} bytes is over the limit of {limit} bytes. Split the file, or raise
    LESSON15_MAX_DOCUMENT_BYTES.
    """


class UnreadableDocumentError(DocumentError):
    detail: object
    message = "{path}: the file cannot be read ({detail}). Check its permissions and its disk."


class OutsideRootsError(DocumentError):
    message = """
    {path}: it leads outside of the folders that may be read. Copy the file into one of them.
    """


class DocumentChangedError(DocumentError):
    message = "{path}: the file changed while it was being read."


class ParserCrashedError(DocumentError):
    detail: object
    message = """
    {path}: the parser process died on this document ({detail}). The document is set aside.
    """


class ParseTimeoutError(DocumentError):
    seconds: float
    message = """
    {path}: parsing took longer than {seconds} s and was stopped. Raise LESSON15_PARSE_TIMEOUT if
    the document is sound.
    """


class WorkerLostError(DocumentError):
    count: int
    message = """
    {path}: {count} workers in a row died or hung while they worked on it. The document is set
    aside.
    """


class InvalidResultError(DocumentError):
    detail: object
    message = "{path}: the result failed validation ({detail})."


class InvalidChunkError(DocumentError):
    path: object
    source: object
    detail: object
    message = "{path}: {source} made what cannot be used ({detail}). Mend or upgrade it."


class StepError(DocumentError):
    path: object
    step: object
    detail: object
    message = "{path}: {step} failed ({detail}). Mend it, then run `lesson15 retry-failed`."


class NoChunksError(DocumentError):
    path: object
    step: object
    message = "{path}: the step {step!r} left no chunk of it."


class DocumentNotFoundError(Lesson15Error, FileNotFoundError):
    path: object
    message = "{path}: no such file; it was skipped. Put it back and resume to have it done."


# --- a passing trouble: worth another try ------------------------------------------------------


class NetworkTimeoutError(Lesson15Error, TimeoutError):
    message = "{operation} timed out after {seconds} s."

    if TYPE_CHECKING:  # the fields of its own message, which those below do not have

        def __init__(self, *, operation: str, seconds: float) -> None: ...


class StepTimeoutError(NetworkTimeoutError):
    step: str
    seconds: float
    setting: str
    message = """
    The step {step!r} took longer than {seconds} s. Raise LESSON15_{setting} if that is expected.
    """


class OutOfMemoryError(Lesson15Error, MemoryError):
    path: object
    detail: object
    message = """
    {path}: not enough memory to process this document ({detail}). Lower --max-concurrent or raise
    LESSON15_PARSER_MEMORY_BYTES.
    """


# --- the system is at fault: the batch aborts, its checkpoint stays; the CLI exits 3 -----------


class StorageError(Lesson15Error):
    """The system is at fault."""

    message = "{path}: {detail}"

    if TYPE_CHECKING:  # the fields of its own message, which those below do not have

        def __init__(self, *, path: object, detail: object) -> None: ...


class CheckpointWriteError(StorageError):
    path: object
    detail: object
    message = """
    The checkpoint at {path} could not be written ({detail}). What was committed before is safe:
    free the disk or fix the permissions, then run `lesson15 resume`.
    """


class StateReadError(StorageError):
    path: object
    detail: object
    message = """
    The state at {path} cannot be read ({detail}). Fix its permissions or its disk, or restore the
    folder from a backup, and try again.
    """


class CatalogError(StorageError):
    path: object
    detail: object
    message = """
    The catalogue at {path} failed ({detail}). It is derived from the journal: free the disk, fix
    the permissions or delete the file, then run `lesson15 resume`.
    """


class CorruptCheckpointError(StorageError):
    path: object
    detail: object
    message = """
    The state at {path} is damaged ({detail}). `lesson15 verify` tells how far; `lesson15 repair`
    mends what it can, and does again from the sources what is lost.
    """


class RepairError(StorageError):
    path: object
    detail: object
    message = """
    The state at {path} cannot be repaired ({detail}). Restore the folder from a backup, or start a
    new batch.
    """


class StoreError(StorageError):
    name: str
    path: object
    detail: object
    message = """
    The vector store {name!r} failed at {path} ({detail}). What was committed is safe: mend the
    store, then run `lesson15 resume`, which brings its index up.
    """


class SchemaTooNewError(StorageError):
    path: object
    found: object
    supported: int
    message = """
    The checkpoint at {path} has schema version {found}, and this lesson15 reads up to {supported}.
    Upgrade lesson15.
    """


class BrokerUnavailableError(StorageError):
    url: str
    detail: object
    message = """
    The broker at {url} cannot be reached ({detail}). Start it, or correct --broker or
    LESSON15_BROKER_URL; what was done is safe.
    """


class ShardFailedError(StorageError):
    path: object
    owner: str
    detail: object
    message = """
    A shard failed on every attempt, the last time on {owner} ({detail}). Mend that, then run
    `lesson15 resume`.
    """


class EmbeddingModelError(Lesson15Error):
    model: str
    detail: object
    message = """
    The embedding model {model!r} could not be loaded ({detail}). `lesson15 doctor` checks the
    installation.
    """


# --- the service refuses a request: see lesson15.api.problems for the HTTP status ---------------


class ServiceError(UsageError):
    """The service refuses a request."""

    message = "{problem}"

    if TYPE_CHECKING:  # the fields of its own message, which those below do not have

        def __init__(self, *, problem: object) -> None: ...


class ServiceUnreachableError(ServiceError):
    url: str
    detail: object
    message = """
    The service at {url} does not answer ({detail}). Start it with `lesson15 serve`, or say where it
    is with LESSON15_WEB_SERVICE_URL.
    """


class AuthenticationError(ServiceError):
    message = """
    No valid API key came with the request. Send it as `X-API-Key: KEY` or as `Authorization: Bearer
    KEY`; `lesson15 keys add` makes one.
    """

    if TYPE_CHECKING:

        def __init__(self) -> None: ...


class RoleError(ServiceError):
    needed: str
    role: str
    message = "This needs a key with the role {needed}; yours has the role {role}."


class OwnBatchNotFoundError(ServiceError):
    batch_id: str
    message = "You have no batch {batch_id!r}. GET /batch/list shows those that you have."


class OwnFileNotFoundError(ServiceError):
    name: str
    message = "You have no file {name!r}. GET /files shows those that you have."


class KeyNotFoundError(ServiceError):
    key_id: str
    message = "There is no valid key {key_id!r}. `lesson15 keys list` shows those that are there."


class PathNotAllowedError(ServiceError):
    path: object
    message = """
    {path}: this is outside of the folders that you may use. Upload the file with POST /files, or
    name one under a folder that GET /files lists in `roots`.
    """


class DocumentPathError(ServiceError):
    path: object
    types: str
    message = """
    {path}: there is no document here. GET /files shows your files; supported types: {types}.
    """


class BatchStateError(ServiceError):
    batch_id: str
    status: str
    action: str
    message = "Batch {batch_id!r} is {status}; it cannot be {action} now."


class FaultsNotAllowedError(ServiceError):
    message = """
    This server lets no batch fail on purpose. Start it with LESSON15_SERVICE_ALLOW_FAULTS=1.
    """

    if TYPE_CHECKING:

        def __init__(self) -> None: ...


class TooManyRequestsError(ServiceError):
    what: str
    limit: object
    seconds: float
    message = "Too many {what}: the limit is {limit}. Try again in {seconds} s."


class RequestTooLargeError(ServiceError):
    what: str
    limit: object
    message = "{what} is over the limit of {limit}. Send less at a time."


class UploadNameError(ServiceError):
    name: str
    detail: object
    types: str
    message = """
    {name!r} cannot be the name of an upload ({detail}). Use a plain file name of one of the types
    {types}.
    """


class ServiceRunningError(ServiceError):
    path: object
    message = """
    Another server works on {path}. Stop it, or give this one a LESSON15_SERVICE_STATE_DIR of its
    own.
    """
