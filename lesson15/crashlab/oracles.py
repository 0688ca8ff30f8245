"""What must be there after a crash: ready checks for the two usual kinds of programs.

A check is called with what was recovered, the values promised before the crash, in order, and
those that were begun, so that they may be there, but need not. It returns None if all is well, and
else says what is wrong; it may also raise AssertionError, or return True or False.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lesson15.crashlab.recorder import short

Check = Callable[[Any, Sequence[Any], Sequence[Any]], object]


def latest(recovered: Any, promised: Sequence[Any], begun: Sequence[Any]) -> str | None:
    """For a program that keeps one value: the last one promised is there, or one begun since.

    Before the first promise, None stands for nothing.
    """
    allowed = [promised[-1] if promised else None, *begun]
    if any(_is_same(recovered, value) for value in allowed):
        return None
    if any(_is_same(recovered, value) for value in promised):
        return f"{short(promised[-1])} was promised, and {short(recovered)} is there: too old."
    if promised and recovered is None:
        return f"{short(promised[-1])} was promised, and nothing is there."
    if promised:
        return f"{short(promised[-1])} was promised, and {short(recovered)} is there."
    return f"{short(recovered)} is there, which nobody has written."


def everything(recovered: Any, promised: Sequence[Any], begun: Sequence[Any]) -> str | None:
    """For a program that keeps many values: every one promised is there, none twice, and none that
    was never begun.

    ``recovered`` is a collection of them, in any order; a dict stands for its (key, value) pairs.
    """
    found = _items(recovered)
    for value in promised:
        if not any(_is_same(value, each) for each in found):
            return f"{short(value)} was promised, and is gone."
    for at, value in enumerate(found):
        if not any(_is_same(value, each) for each in (*promised, *begun)):
            return f"{short(value)} is there, which nobody has written."
        if any(_is_same(value, each) for each in found[:at]):
            return f"{short(value)} is there twice."
    return None


def _items(recovered: Any) -> list[Any]:
    if recovered is None:
        return []
    if isinstance(recovered, Mapping):
        return list(recovered.items())
    if isinstance(recovered, str | bytes) or not isinstance(recovered, Iterable):
        raise TypeError(
            f"`recover` gave {short(recovered)}, which is not a collection: for a program that "
            "keeps one value, give check=crashlab.latest."
        )
    return list(recovered)


def _is_same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - whatever a value's own comparison may raise
        return False


def verdict(
    check: Check, recovered: Any, promised: Sequence[Any], begun: Sequence[Any]
) -> str | None:
    """What ``check`` says; None: all is well."""
    try:
        said = check(recovered, promised, begun)
    except AssertionError as error:
        return str(error) or "An assertion of the check failed."
    if said is None or said is True:
        return None
    if said is False:
        return f"The check says no to {short(recovered)}."
    return str(said)
