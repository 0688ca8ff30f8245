"""Errors: what they say, with which fields, and that it holds whatever Python strips."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path
from string import Formatter

import pytest

from lesson15 import errors
from lesson15.errors import BatchNotFoundError, CheckpointWriteError, Lesson15Error

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, Lesson15Error) and kind is not Lesson15Error
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_says_something_of_its_own(kind: type[Lesson15Error]) -> None:
    assert "message" in vars(kind), "a docstring is no message: set `message`"
    assert kind.message
    assert "\n" not in kind.message
    assert kind.__doc__
    if "__init__" in vars(kind):
        return  # its fields are its own affair
    names = {name for _, name, _, _ in Formatter().parse(kind.message) if name}
    annotations = set().union(*(inspect.get_annotations(base) for base in kind.__mro__[:-2]))
    is_parent = any(other is not kind and issubclass(other, kind) for other in KINDS)
    assert is_parent or names <= annotations, "mypy checks the fields that are annotated"
    error = kind(**{name: f"<{name}>" for name in names | inspect.get_annotations(kind).keys()})
    assert all(f"<{name}>" in str(error) for name in names)
    assert all(getattr(error, name) == f"<{name}>" for name in names)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.fields) == (kind, str(error), error.fields)
    for name in names:
        with pytest.raises(TypeError, match=f"{kind.__name__} lacks .*{name}"):
            kind(**{other: "x" for other in error.fields if other != name})


def test_values_are_taken_as_they_are() -> None:
    error = CheckpointWriteError(path=Path("/x"), detail="full {not a field}")
    assert "/x could not be written (full {not a field})" in str(error)
    assert (error.path, error.fields["path"]) == (Path("/x"), Path("/x"))


def test_a_misspelt_field_is_named() -> None:
    with pytest.raises(TypeError, match="BatchNotFoundError lacks batch_id"):
        BatchNotFoundError(batch="b", state_dir="s")  # type: ignore[call-arg]


def test_a_message_is_the_docstring_unless_there_is_one() -> None:
    class PlainError(Lesson15Error):
        message = """
            {number} is
            too much.
        """

    class ExplainedError(PlainError):
        """Why this is."""

    assert (PlainError.__doc__, PlainError.message) == ("{number} is too much.",) * 2
    assert (ExplainedError.__doc__, str(ExplainedError(number=3))) == (
        "Why this is.",
        "3 is too much.",
    )


@pytest.mark.parametrize("option", ["-O", "-OO"])
def test_messages_survive_without_docstrings(tmp_path: Path, option: str) -> None:
    code = (
        "import sys; from lesson15.cli import main; sys.argv[1:] = "
        f"['status', 'nope', '--state-dir', {str(tmp_path)!r}]; main()"
    )
    done = subprocess.run([sys.executable, option, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert f"Error: No batch 'nope' in {tmp_path}. `lesson15 list" in done.stderr
    code = (
        "import pickle; from lesson15 import errors\n"
        "for kind in vars(errors).values():\n"
        "    if isinstance(kind, type) and issubclass(kind, errors.Lesson15Error):\n"
        "        print(kind.__name__, kind.message, bool(kind.__doc__))\n"
        "print(pickle.loads(pickle.dumps(errors.StorageError(path='p', detail='d'))))"
    )
    stripped, plain = (
        subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True)
        for options in ([option], [])
    )
    assert plain.returncode == 0, plain.stderr
    assert len(plain.stdout.splitlines()) == len(KINDS) + 2
    base, *others = plain.stdout.splitlines()
    assert base == "Lesson15Error lesson15 failed. True"
    assert stripped.stdout.splitlines()[1:] == others
