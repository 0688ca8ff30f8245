"""One chunk a paragraph."""

from __future__ import annotations

import re

from lesson15.documents.parsed import ParseOptions, Section

_PARAGRAPH = re.compile(r"\S.*(?:\n.*\S.*)*")


def paragraphs(section: Section, options: ParseOptions) -> list[tuple[int, int]]:  # noqa: ARG001
    """Where each paragraph of ``section`` begins and ends; blank lines lie between them."""
    return [match.span() for match in _PARAGRAPH.finditer(section.text)]
