"""Puts one object in the place of another wherever a program refers to it: in modules, global
names, closures, defaults of arguments, containers and attributes, however it came there.
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Mapping
from types import BuiltinFunctionType, CellType, FunctionType, MemberDescriptorType
from typing import Any

from lesson15.crashlab.calls import Traced


def swap(pairs: list[tuple[Any, Any]]) -> None:
    """Replace each first of ``pairs`` by its second."""
    table = {id(old): new for old, new in pairs}
    for holder in gc.get_referrers(*(old for old, _ in pairs)):
        if holder is pairs or holder is table or any(holder is pair for pair in pairs):
            continue
        with contextlib.suppress(AttributeError, TypeError, RuntimeError):
            _swap_in(holder, table)


def _swap_in(holder: Any, table: Mapping[int, Any]) -> None:
    match holder:
        case Traced() | BuiltinFunctionType():
            pass
        case dict():
            _swap_in_dict(holder, table)
        case list():
            holder[:] = [table.get(id(each), each) for each in holder]
        case set():  # such as os.supports_dir_fd: whoever asks for either is right
            holder |= {table[id(each)] for each in holder if id(each) in table}
        case CellType():
            holder.cell_contents = table.get(id(holder.cell_contents), holder.cell_contents)
        case tuple():
            _swap_in_tuple(holder, table)
        case functools.partial():
            _swap_in_partial(holder, holder.args, table)
        case staticmethod() | classmethod():
            _swap_method(holder, table)
        case type():
            pass  # its attributes are in its dict
        case _:
            _swap_in_object(holder, table)


def _swap_in_dict(holder: dict[Any, Any], table: Mapping[int, Any]) -> None:
    if holder.get("__wrapped__") is holder.get("real") is not None:  # of a Traced
        return
    owner = None
    if "__module__" in holder and "__name__" not in holder:
        owners = (each for each in gc.get_referrers(holder) if isinstance(each, type))
        owner = next(owners, None)
    for key, value in list(holder.items()):
        if id(value) in table and owner is None:
            holder[key] = table[id(value)]
        elif id(value) in table:
            setattr(owner, key, table[id(value)])


def _swap_in_tuple(holder: tuple[Any, ...], table: Mapping[int, Any]) -> None:
    new = tuple(table.get(id(each), each) for each in holder)
    for owner in gc.get_referrers(holder):
        if isinstance(owner, FunctionType) and owner.__defaults__ is holder:
            owner.__defaults__ = new
        elif isinstance(owner, functools.partial) and owner.args is holder:
            _swap_in_partial(owner, new, table)
        elif isinstance(owner, dict):
            for key in [key for key, value in owner.items() if value is holder]:
                owner[key] = new
        elif isinstance(owner, list):
            owner[:] = [new if each is holder else each for each in owner]


def _swap_in_partial(
    holder: functools.partial[Any], args: tuple[Any, ...], table: Mapping[int, Any]
) -> None:
    function = table.get(id(holder.func), holder.func)
    holder.__setstate__((function, args, holder.keywords, holder.__dict__ or None))  # type: ignore[attr-defined]


def _swap_method(holder: Any, table: Mapping[int, Any]) -> None:
    new = type(holder)(table[id(holder.__func__)])
    for names in gc.get_referrers(holder):
        if isinstance(names, dict):
            for owner in [each for each in gc.get_referrers(names) if isinstance(each, type)]:
                for key in [key for key, value in vars(owner).items() if value is holder]:
                    setattr(owner, key, new)


def _swap_in_object(holder: Any, table: Mapping[int, Any]) -> None:
    for kind in type(holder).__mro__:
        for name, member in vars(kind).items():
            if isinstance(member, MemberDescriptorType):
                value = getattr(holder, name, None)
                if id(value) in table:
                    object.__setattr__(holder, name, table[id(value)])
    names = getattr(holder, "__dict__", {})
    for key, value in list(names.items()):
        if id(value) in table:
            names[key] = table[id(value)]
