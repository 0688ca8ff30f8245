"""What other packages add to lesson15, found by their entry points.

A package declares, for example::

    [project.entry-points."lesson15.loaders"]
    rst = "my_package:load_rst"

Loaders and notifiers are used as soon as they are installed, the others by their names:
``lesson15 run --chunker NAME --step NAME --embedder NAME --store NAME``, and
``LESSON15_CHECKPOINT_BACKEND=NAME``. docs/extending.md shows how to write each, and
examples/lesson15-example-plugin is a package with one of each.

Entry points rather than pluggy: each group has one object a name and no hook that several plugins
answer together, which is all that pluggy would add.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lesson15.errors import NoPluginError, PluginError, UnknownNameError, UsageError


class Group(StrEnum):
    """The groups of entry points, and what an entry of each must be."""

    LOADERS = "lesson15.loaders"
    """A :class:`~lesson15.documents.loaders.base.Loader`; the name is the suffix, without dot."""
    CHUNKERS = "lesson15.chunkers"
    """A :data:`~lesson15.documents.chunkers.Chunker`, or a class whose instances are."""
    STEPS = "lesson15.steps"
    """A :data:`~lesson15.engine.steps.ChunkStep`, or a class whose instances are."""
    EMBEDDERS = "lesson15.embedders"
    """A callable that makes an :class:`~lesson15.embedding.Embedder` of the entry's name, with
    an attribute ``dimensions``; the class of one will do."""
    STORES = "lesson15.stores"
    """A callable that makes a :class:`~lesson15.stores.VectorStore` of a path and a dimension."""
    CHECKPOINT_BACKENDS = "lesson15.checkpoint_backends"
    """A callable that makes a :class:`~lesson15.checkpoint.filesystem.FileSystem`."""
    NOTIFIERS = "lesson15.notifiers"
    """A callable that makes a :class:`~lesson15.notifications.Notifier`."""
    TRANSIENT = "lesson15.transient"
    """A :data:`~lesson15.recovery.TransientHook`; the name is for messages only."""

    @property
    def noun(self) -> str:
        """One of the group, for messages."""
        return self.rpartition(".")[2].replace("_", " ").removesuffix("s")


@cache
def _entries(group: Group) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:  # the same one may be found twice on the path
            raise _fault(group, entry, f"{_package(other)} has one of that name, too")
    return found


def names(group: Group) -> list[str]:
    """The names of all plugins in ``group``."""
    return sorted(_entries(group))


def check_name(
    group: Group, name: str, built_in: Iterable[str], choices: Iterable[str] = ()
) -> None:
    """Raise UnknownNameError unless ``name`` is built in, or that of a plugin.

    ``choices`` are what the error offers beside plugins; ``built_in`` if there are none.
    """
    if not isinstance(name, str):
        kind = type(name).__name__
        raise UsageError(problem=f"{name!r} is no {group.noun}: give a name, not {kind}.")
    if name not in built_in and name not in _entries(group):
        known = ", ".join([*(choices or built_in), *names(group)])
        if not known:
            raise NoPluginError(what=group.noun, name=name, choices=known, group=group.value)
        raise UnknownNameError(what=group.noun, name=name, choices=known)


def load(group: Group, name: str, built_in: Iterable[str] = ()) -> Callable[..., Any]:
    """The plugin ``name`` of ``group``.

    Raises:
        UnknownNameError: there is none of that name.
        PluginError: it cannot be imported, is not callable, or takes a name of lesson15's own.
    """
    check_name(group, name, ())
    entry = _entries(group)[name]
    if name in built_in:
        raise _fault(group, entry, f"lesson15 has a {group.noun} of that name of its own")
    try:
        plugin = entry.load()
    except Exception as error:
        raise _fault(group, entry, f"{type(error).__name__}: {error}") from error
    if not callable(plugin):
        raise _fault(group, entry, f"{entry.value} is not callable")
    return plugin  # type: ignore[no-any-return]


def load_all(group: Group, built_in: Iterable[str] = ()) -> dict[str, Callable[..., Any]]:
    """All plugins of ``group`` by name, in the order of their names; raises as :func:`load`."""
    return {name: load(group, name, built_in) for name in sorted(_entries(group))}


def make(group: Group, name: str, built_in: Iterable[str] = ()) -> Callable[..., Any]:
    """The plugin ``name`` of ``group``, where that may also be a class whose instance is called.

    Raises:
        UnknownNameError, PluginError: as :func:`load`; or its class cannot be instantiated.
    """
    plugin = load(group, name, built_in)
    if not isinstance(plugin, type):
        return plugin
    try:
        instance = plugin()
    except Exception as error:
        raise fault(group, name, f"{type(error).__name__}: {error}") from error
    if not callable(instance):
        raise fault(group, name, "an object of its class is not callable")
    return instance  # type: ignore[no-any-return]


def fault(group: Group, name: str, detail: str) -> PluginError:
    """The error that says what is wrong with the plugin ``name``."""
    return _fault(group, _entries(group)[name], detail)


def _fault(group: Group, entry: EntryPoint, detail: str) -> PluginError:
    return PluginError(name=entry.name, group=group.value, package=_package(entry), detail=detail)


def version_of(group: Group, name: str) -> str:
    """The package of the plugin ``name`` and its version, such as "lesson15-example 1.0"."""
    dist = _entries(group)[name].dist
    return f"{dist.name} {dist.version}" if dist else "unknown"


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown"
