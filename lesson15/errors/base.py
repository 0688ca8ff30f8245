"""What every error of lesson15 is: a message with fields, for the user who can mend it."""

from __future__ import annotations

import inspect
from string import Formatter
from typing import Any, ClassVar, dataclass_transform


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


def message_of(error: Exception) -> str:
    """What ``error`` says, as UTF-8, which the paths in it may not be."""
    return as_utf8(str(error) or type(error).__name__)


def as_utf8(text: str) -> str:
    """``text`` with a backslash escape for each character that UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()


def _rebuild(kind: type[Lesson15Error], fields: dict[str, Any]) -> Lesson15Error:
    return kind(**fields)
