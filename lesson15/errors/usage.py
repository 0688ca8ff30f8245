"""Bad usage or input: the command line exits 2."""

# ruff: noqa: D101 - __init_subclass__ makes the docstring of a class from its message

from __future__ import annotations

from typing import TYPE_CHECKING

from lesson15.errors.base import Lesson15Error


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


class NoPluginError(UnknownNameError):
    what: str
    name: str
    choices: str
    group: str
    message = """
    There is no {what} {name!r}, and no other one is installed. Install the package that has it; it
    adds an entry point to the group {group}.
    """


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
    with {name}={stored!r}, or start a new batch; `lesson15 resume {batch_id} --reembed` does
    everything again with {given!r}.
    """


class ReembedIncompleteError(UsageError):
    batch_id: str
    count: int
    names: str
    message = """
    Batch {batch_id!r} stays as it was: {count} of its documents could not be done again ({names}).
    What was done is kept: mend them and run `lesson15 resume {batch_id} --reembed` again, or add
    --prune to switch without them.
    """


class FaultPlanError(UsageError):
    source: object
    detail: object
    message = """
    The fault plan {source} cannot be used: {detail}. `lesson15 fault points` shows which kinds of
    faults go where.
    """


class SourcesMissingError(UsageError):
    batch_id: str
    problems: str
    message = """
    Batch {batch_id!r} would lose documents that may be there: {problems}. Nothing was dropped.
    Mount, restore or unlock what is missing and try again; `lesson15 resume {batch_id} --prune`
    drops these documents from the index.
    """
