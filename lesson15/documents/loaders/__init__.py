"""The loaders by file suffix; :func:`register_loader` and plugins add to them."""

from __future__ import annotations

from functools import cache

from lesson15.documents.loaders import (
    csv_loader,
    docx_loader,
    html_loader,
    json_loader,
    markdown_loader,
    pdf_loader,
    text_loader,
)
from lesson15.documents.loaders.base import Loader
from lesson15.errors import UsageError
from lesson15.plugins import Group, load_all

LOADERS: dict[str, Loader] = {
    ".txt": text_loader.load,
    ".md": markdown_loader.load,
    ".markdown": markdown_loader.load,
    ".html": html_loader.load,
    ".htm": html_loader.load,
    ".pdf": pdf_loader.load,
    ".docx": docx_loader.load,
    ".csv": csv_loader.load,
    ".json": json_loader.load,
}
"""Each built-in or registered suffix, in lower case with its dot, and what reads it."""


@cache
def loaders() -> dict[str, Loader]:
    """:data:`LOADERS` with those of installed plugins; raises PluginError for a broken one."""
    built_in = [suffix.removeprefix(".") for suffix in LOADERS]
    for name, loader in load_all(Group.LOADERS, built_in).items():
        register_loader(f".{name}", loader)
    return LOADERS


def supported_types() -> str:
    """The suffixes, for messages."""
    return " ".join(loaders())


def register_loader(suffix: str, loader: Loader) -> None:
    """Have files that end in ``suffix`` read by ``loader``, replacing any earlier one.

    Raises:
        UsageError: ``suffix`` is not a dot and at least one more character without a dot.
    """
    if not suffix.startswith(".") or len(suffix) < 2 or "." in suffix[1:]:
        raise UsageError(problem=f"{suffix!r} is not a file suffix such as '.txt'.")
    LOADERS[suffix.lower()] = loader
