"""Turning texts into vectors."""

from __future__ import annotations

import numpy as np

from lesson15 import plugins
from lesson15.embedding import endpoint, sentence
from lesson15.embedding.base import Embedder
from lesson15.embedding.endpoint import Endpoint
from lesson15.embedding.hashing import HashingEmbedder
from lesson15.embedding.identity import identity_of, probe_vector, same_model
from lesson15.errors import UsageError
from lesson15.plugins import Group

__all__ = [
    "Embedder",
    "canonical_name",
    "check_embedder",
    "dimensions_of",
    "identity_of",
    "open_embedder",
    "probe_vector",
    "same_model",
]

_DIMENSIONS = {"minilm": 384, "hashing": 256}
_CHOICES = [*_DIMENSIONS, "path:FOLDER", "openai:URL#MODEL"]


def check_embedder(embedder: str | Embedder) -> None:
    """Check that ``embedder`` is one, or the name of one; nothing is loaded, nothing is called.

    Raises:
        UsageError: it is an object without the attributes of an embedder.
        UnknownNameError: there is none of that name.
        EmbedderNameError: it is a ``path:`` or ``openai:`` that cannot be used.
    """
    if isinstance(embedder, str):
        canonical_name(embedder)
        return
    lacks = [name for name in ("name", "dimensions", "embed") if not _has(embedder, name)]
    detail = None
    if isinstance(embedder, type):
        detail = "it is a class"
    elif lacks:
        detail = f"it lacks {', '.join(lacks)}"
    elif not isinstance(embedder.name, str) or not callable(embedder.embed):
        detail = "its name is no text, or its embed no function"
    if detail is not None:
        raise UsageError(
            problem=f"{embedder!r} is no embedder ({detail}): give a name, or an object with name, "
            "dimensions and embed(texts)."
        )


def _has(embedder: object, name: str) -> bool:
    """Whether ``embedder`` has the attribute; a property, which may call a service, is not read."""
    return hasattr(type(embedder), name) or hasattr(embedder, name)


def canonical_name(name: str) -> str:
    """``name`` as a manifest keeps it: a ``path:`` is absolute, from wherever it was given.

    Raises:
        UnknownNameError, EmbedderNameError: as :func:`check_embedder`.
    """
    if name.startswith(sentence.PREFIX):
        return sentence.PREFIX + str(sentence.folder_of(name))
    if name.startswith(endpoint.PREFIX):
        return Endpoint.parse(name).name
    plugins.check_name(Group.EMBEDDERS, name, _DIMENSIONS, _CHOICES)
    return name


def dimensions_of(embedder: str | Embedder) -> int:
    """The vector length of ``embedder``, without loading the model of a name if that can be.

    Raises:
        UnknownNameError, EmbedderNameError: there is none, or its service does not answer.
        PluginError: the plugin is broken.
        EmbeddingModelError: the folder's model is damaged.
    """
    if not isinstance(embedder, str):
        dimensions: object = embedder.dimensions
        if not isinstance(dimensions, int | np.integer) or dimensions < 1:
            raise UsageError(
                problem=f"The embedder {embedder.name!r} has dimensions={dimensions!r}: that must "
                "be the length of its vectors."
            )
        return int(dimensions)
    name = canonical_name(embedder)
    if name in _DIMENSIONS:
        return _DIMENSIONS[name]
    if name.startswith(sentence.PREFIX):
        found = sentence.dimensions_in(sentence.folder_of(name))
        return found or open_embedder(name).dimensions
    if name.startswith(endpoint.PREFIX):
        from lesson15.embedding.remote import find_dimensions

        return find_dimensions(Endpoint.parse(name))
    dimensions = getattr(plugins.load(Group.EMBEDDERS, name), "dimensions", None)
    if not isinstance(dimensions, int):
        raise plugins.fault(Group.EMBEDDERS, name, "it has no number `dimensions`")
    return dimensions


def open_embedder(name: str, dimensions: int | None = None) -> Embedder:
    """The embedder called ``name``; loading a model takes seconds.

    Args:
        name: minilm, hashing, ``path:FOLDER``, ``openai:URL#MODEL`` or a plugin's.
        dimensions: the vector length of the batch, where it is known: a remote embedder need not
            be asked for it, and an answer of another length is refused.

    Raises:
        EmbeddingModelError: the model's files are missing or damaged.
        UnknownNameError, EmbedderNameError, PluginError: as :func:`dimensions_of`.
    """
    name = canonical_name(name)
    if name == "hashing":
        return HashingEmbedder(_DIMENSIONS[name])
    if name == "minilm":
        from lesson15.embedding.minilm import MiniLMEmbedder

        return MiniLMEmbedder()
    if name.startswith(sentence.PREFIX):
        return sentence.SentenceTransformerEmbedder(sentence.folder_of(name))
    if name.startswith(endpoint.PREFIX):
        from lesson15.embedding.remote import OpenAIEmbedder

        return OpenAIEmbedder(Endpoint.parse(name), dimensions)
    embedder: Embedder = plugins.load(Group.EMBEDDERS, name, _DIMENSIONS)()
    return embedder
