"""Gathering lines into sections, one for each heading."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lesson15.documents.chunking import normalize
from lesson15.documents.loaders.base import TextLimit
from lesson15.documents.parsed import ParseOptions, Section, TextKind

MAX_TITLE_CHARS = 200
"""What is kept of a heading: it is repeated in every chunk below it, and a broken page may have
all of its text in one."""


_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,5}")


class Outline:
    r"""The sections of a document with headings, in the order of its lines.

    A heading opens a section whose ``meta["heading"]`` is the path to it. A heading right below a
    higher one, and what stands above the first, such as a title, share a section with what
    follows, so that no chunk is a mere title. No line is lost. ``meta`` is that of every section.

    Example:
        >>> outline = Outline("a.md", ParseOptions())
        >>> outline.add_heading(1, "Bees", ["# Bees"])
        >>> outline.add_heading(2, "Honey", ["## Honey"])
        >>> outline.add("In July.")
        >>> [(section.text, section.meta) for section in outline.sections()]
        [('# Bees\n## Honey\nIn July.', {'heading': ['Bees', 'Honey']})]
    """

    def __init__(
        self,
        path: str,
        options: ParseOptions,
        kind: TextKind = "plain",
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self._limit = TextLimit(path, options)
        self._kind: TextKind = kind
        self._meta = meta or {}
        self._path: list[tuple[int, str]] = []
        self._lines: list[str] = []
        self._has_body = False
        self._has_heading = False
        self._sections: list[Section] = []

    def add(self, line: str) -> None:
        """Append a line of text; raises DocumentTooLargeError."""
        self._lines.append(self._limit.count(line))
        self._has_body = self._has_body or bool(line.strip())

    def add_preface(self, lines: Iterable[str]) -> None:
        """Append lines that belong to what follows, such as the title of a page."""
        self._lines.extend(map(self._limit.count, lines))

    def add_heading(self, level: int, title: str, lines: Iterable[str]) -> None:
        """Open a section.

        Args:
            level: 1 for the highest.
            title: what the path shows; white space is collapsed.
            lines: the heading as it is to be read.
        """
        is_below = not self._has_heading or level > self._path[-1][0]
        if self._has_body or not is_below:
            self._close()
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        shown = short(title)
        if shown:
            self._path.append((level, shown))
        self._has_heading = bool(shown)
        self.add_preface(lines)

    def sections(self) -> list[Section]:
        """All sections."""
        self._close()
        return self._sections

    def _close(self) -> None:
        if any(line.strip() for line in self._lines):  # blank lines go with what follows
            path = [title for _, title in self._path]
            meta = {"heading": path, **self._meta} if path else self._meta
            self._sections.append(Section("\n".join(self._lines), self._kind, meta))
            self._lines = []
        self._has_body = False
        self._has_heading = False


def short(title: str) -> str:
    """``title`` in one line, as far as it is kept."""
    return " ".join(normalize(title[: 10 * MAX_TITLE_CHARS]).split())[:MAX_TITLE_CHARS].rstrip()


def language_meta(declared: object) -> dict[str, str]:
    """``meta`` with the language that a document declares, if it looks like one ("zh-Hant")."""
    if isinstance(declared, str) and _LANGUAGE.fullmatch(declared.strip()):
        return {"language": declared.strip()}
    return {}
