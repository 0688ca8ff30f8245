"""The service refuses a request; see :mod:`lesson15.api.problems` for the HTTP status."""

# ruff: noqa: D101 - __init_subclass__ makes the docstring of a class from its message

from __future__ import annotations

from typing import TYPE_CHECKING

from lesson15.errors.usage import UsageError


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
