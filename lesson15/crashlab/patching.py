"""Puts one object in the place of another wherever a program refers to it: in modules, global
names, closures, defaults of arguments, containers and attributes, however it came there.
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Iterable, Mapping
from types import BuiltinFunctionType, CellType, FunctionType, MemberDescriptorType
from typing import Any

from lesson15.crashlab.calls import Traced

Table = Mapping[int, Any]
"""By the id of what is replaced: what replaces it."""


def swap(pairs: list[tuple[Any, Any]]) -> None:
    """Replace each first of ``pairs`` by its second."""
    own = {id(pairs), *map(id, pairs)}
    table = {id(old): new for old, new in pairs}
    later = [  # those that cannot be changed, but replaced as a whole
        holder
        for holder in gc.get_referrers(*(old for old, _ in pairs))
        if id(holder) not in own and not _swap_in(holder, table)
    ]
    if not later:
        return
    table = {}
    for holder in later:
        if isinstance(holder, tuple):
            table[id(holder)] = tuple(_new(pairs, each) for each in holder)
        elif isinstance(holder, staticmethod | classmethod):
            table[id(holder)] = type(holder)(_new(pairs, holder.__func__))
    _swap_in_classes(later, pairs)
    dicts = []
    for owner in gc.get_referrers(*later):
        if isinstance(owner, FunctionType) and id(owner.__defaults__) in table:
            owner.__defaults__ = table[id(owner.__defaults__)]
        elif isinstance(owner, functools.partial) and id(owner.args) in table:
            _swap_in_partial(owner, table[id(owner.args)], {})
        elif (
            not isinstance(owner, tuple | type)
            and owner is not later
            and owner is not table
            and not _swap_in(owner, table)
        ):
            dicts.append(owner)
    if dicts:
        _swap_in_classes(dicts, [(each, table[id(each)]) for each in later if id(each) in table])


def _new(pairs: Iterable[tuple[Any, Any]], value: Any) -> Any:
    return next((new for old, new in pairs if old is value), value)


def _swap_in_classes(holders: list[Any], pairs: list[tuple[Any, Any]]) -> None:
    """Replace in the attributes of classes, by their own way: their dicts have a cache."""
    dicts = [holder for holder in holders if isinstance(holder, dict)]
    if not dicts:
        return
    table = {id(old): new for old, new in pairs}
    classes = {id(each): each for each in gc.get_referrers(*dicts) if isinstance(each, type)}
    for owner in classes.values():
        for key, value in list(vars(owner).items()):
            if id(value) in table:
                with contextlib.suppress(AttributeError, TypeError):
                    setattr(owner, key, table[id(value)])


def _swap_in(holder: Any, table: Table) -> bool:
    """Replace what is in ``holder``, or tell that it cannot be done like this."""
    with contextlib.suppress(AttributeError, TypeError, RuntimeError, ValueError):
        match holder:
            case Traced() | BuiltinFunctionType() | type():
                pass
            case tuple() | staticmethod() | classmethod():
                return False
            case dict():
                return _swap_in_dict(holder, table)
            case list():
                holder[:] = [table.get(id(each), each) for each in holder]
            case set():  # such as os.supports_dir_fd: whoever asks for either is right
                holder |= {table[id(each)] for each in holder if id(each) in table}
            case CellType():
                holder.cell_contents = table.get(id(holder.cell_contents), holder.cell_contents)
            case functools.partial():
                _swap_in_partial(holder, holder.args, table)
            case _:
                _swap_in_object(holder, table)
    return True


def _swap_in_dict(holder: dict[Any, Any], table: Table) -> bool:
    if "real" in holder and "__wrapped__" in holder:  # of a Traced
        return True
    if "__module__" in holder and "__name__" not in holder:  # of a class
        return False
    for key, value in list(holder.items()):
        if id(value) in table:
            holder[key] = table[id(value)]
    return True


def _swap_in_partial(holder: functools.partial[Any], args: tuple[Any, ...], table: Table) -> None:
    function = table.get(id(holder.func), holder.func)
    state = (function, args, holder.keywords, holder.__dict__ or None)
    holder.__setstate__(state)  # type: ignore[attr-defined]


def _swap_in_object(holder: Any, table: Table) -> None:
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
