"""Folders and documents for the notebooks; everything comes from data/sample_docs."""

from __future__ import annotations

import shutil
from itertools import cycle, islice
from pathlib import Path

from lesson15.documents.encoding import decode
from lesson15.errors import CourseMaterialError
from lesson15.logs import log_to_stderr

_PACKAGE = Path(__file__).parent.parent
_ROOTS = (
    _PACKAGE / "_material",  # in a wheel, which is built with a copy of both folders
    _PACKAGE.parent,  # in a checkout, where they lie beside the package
)
_PARAGRAPHS_FROM = "guides"


def course_root() -> Path:
    """The folder with ``notebooks`` and ``data``: part of the wheel, or the checkout.

    Raises:
        CourseMaterialError: they are in neither place.
    """
    for root in _ROOTS:
        if (root / "data" / "sample_docs").is_dir() and (root / "notebooks").is_dir():
            return root
    raise CourseMaterialError(root=_ROOTS[0])


def sample_docs() -> Path:
    """The folder of the sample documents, the bad ones among them; raises CourseMaterialError."""
    return course_root() / "data" / "sample_docs"


def work_folder(name: str, *, fresh: bool = True) -> Path:
    """A folder for what a notebook writes, ``work/<name>`` beside it; emptied if ``fresh``."""
    folder = Path("work") / name
    if fresh and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def make_documents(folder: Path, count: int) -> Path:
    """Fill ``folder`` with ``count`` short text files, each a paragraph of the sample guides."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted((sample_docs() / _PARAGRAPHS_FROM).glob("*.md"))
    files += sorted((sample_docs() / _PARAGRAPHS_FROM).glob("*.txt"))
    paragraphs = [
        part.strip()
        for file in files
        for part in decode(file.read_bytes(), str(file), "text").split("\n\n")
        if len(part.strip()) > 80
    ]
    width = len(str(count - 1))
    for number, paragraph in enumerate(islice(cycle(paragraphs), count)):
        path = folder / f"doc-{number:0{width}}.txt"
        if not path.exists():
            path.write_text(f"Note {number}.\n\n{paragraph}\n", encoding="utf-8")
    return folder


def prepare() -> None:
    """Let a notebook show its own output only: what fails shows in reports and exceptions."""
    log_to_stderr("CRITICAL")
