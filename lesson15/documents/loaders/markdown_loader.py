"""Markdown files: their source, in one section for each heading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from lesson15.documents.chunking import normalize
from lesson15.documents.encoding import decode
from lesson15.documents.loaders.outline import MAX_TITLE_CHARS, Outline
from lesson15.documents.parsed import LoadedDocument, ParseOptions

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_FRONT_MATTER_ENDS = ("---", "...")
_NESTED = re.compile(r">|(?:[-+*]|\d+[.)])\s")
"""A list or quotation before a line of dashes, which only looks like a heading underlined."""
_MARKUP = re.compile(r"[\\*_`\[\]<>&!\n]")


class _Heading(NamedTuple):
    level: int
    title: str
    first_line: int
    end_line: int


def load(path: str, data: bytes, options: ParseOptions) -> LoadedDocument:
    """The source, to be split along its headings and blocks.

    Raises:
        BinaryDocumentError: the file is not text.
        TruncatedDocumentError: the file ends inside a character.
    """
    lines = normalize(decode(data, path, expected="Markdown text")).split("\n")
    outline = Outline(path, options, "markdown")
    begin = _front_matter_lines(lines)
    outline.add_preface(lines[:begin])
    for heading in _headings(lines, begin):
        for line in lines[begin : heading.first_line]:
            outline.add(line)
        begin = heading.end_line
        outline.add_heading(heading.level, heading.title, lines[heading.first_line : begin])
    for line in lines[begin:]:
        outline.add(line)
    return LoadedDocument(outline.sections())


def _front_matter_lines(lines: list[str]) -> int:
    """How many lines of metadata the file begins with: Markdown would take the last for a title."""
    if lines[0].rstrip() != "---":
        return 0
    ends = (n for n, line in enumerate(lines[1:], 2) if line.rstrip() in _FRONT_MATTER_ENDS)
    return next(ends, 0)


def _headings(lines: list[str], begin: int) -> Iterator[_Heading]:
    """The headings after line ``begin`` that stand in no quotation, list or code."""
    tokens = _block_parser().parse("\n".join(lines[begin:]))
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open" and opening.map:
            if not opening.markup.startswith("#") and _NESTED.match(content.content):
                continue
            first, end = opening.map
            title = _plain(content.content[: 10 * MAX_TITLE_CHARS])
            yield _Heading(int(opening.tag[1:]), title, begin + first, begin + end)


def _plain(source: str) -> str:
    """The words of a heading, without emphasis and links."""
    if not _MARKUP.search(source):
        return source
    (inline,) = _inline_parser().parseInline(source)
    return "".join(
        " " if part.type in ("softbreak", "hardbreak") else part.content
        for part in inline.children or []
    )


@cache
def _block_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Lists and quotations cost four times as much as all else, and no heading in them is wanted.
    return MarkdownIt("commonmark").disable(["inline", "list", "blockquote", "reference"])


@cache
def _inline_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")
