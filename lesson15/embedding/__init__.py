"""Turning texts into vectors."""

from __future__ import annotations

from lesson15 import plugins
from lesson15.embedding.base import Embedder
from lesson15.embedding.hashing import HashingEmbedder
from lesson15.plugins import Group

__all__ = ["Embedder", "check_embedder", "dimensions_of", "open_embedder"]

_DIMENSIONS = {"minilm": 384, "hashing": 256}


def check_embedder(name: str) -> None:
    """Raise UnknownNameError unless there is an embedder called ``name``."""
    plugins.check_name(Group.EMBEDDERS, name, _DIMENSIONS)


def dimensions_of(name: str) -> int:
    """The vector length of the embedder called ``name``, without loading its model.

    Raises:
        UnknownNameError: there is none.
        PluginError: the plugin is broken.
    """
    check_embedder(name)
    if name in _DIMENSIONS:
        return _DIMENSIONS[name]
    dimensions = getattr(plugins.load(Group.EMBEDDERS, name), "dimensions", None)
    if not isinstance(dimensions, int):
        raise plugins.fault(Group.EMBEDDERS, name, "it has no number `dimensions`")
    return dimensions


def open_embedder(name: str) -> Embedder:
    """The embedder called ``name`` (minilm, hashing or a plugin's); loading one takes seconds.

    Raises:
        EmbeddingModelError: the model's files are missing or damaged.
        UnknownNameError, PluginError: as :func:`dimensions_of`.
    """
    check_embedder(name)
    if name == "hashing":
        return HashingEmbedder(_DIMENSIONS[name])
    if name == "minilm":
        from lesson15.embedding.minilm import MiniLMEmbedder

        return MiniLMEmbedder()
    embedder: Embedder = plugins.load(Group.EMBEDDERS, name, _DIMENSIONS)()
    return embedder
