"""Subtitles: only what is spoken is worth searching."""

from __future__ import annotations

import re

from lesson15.documents.encoding import decode
from lesson15.documents.loaders.base import BoundedLines
from lesson15.documents.parsed import LoadedDocument, ParseOptions, Section
from lesson15.errors import MalformedDocumentError

_TIMES = re.compile(r"\d+:\d\d:\d\d[,.]\d{3} --> \d+:\d\d:\d\d[,.]\d{3}")
_TAG = re.compile(r"<[^>]*>")


def load_srt(path: str, data: bytes, options: ParseOptions) -> LoadedDocument:
    """The spoken lines of a SubRip file, without numbers, times and tags."""
    text = decode(data, path, "subtitles")
    if not _TIMES.search(text):
        raise MalformedDocumentError(path=path, expected="SRT", detail="no line has times")
    lines = BoundedLines(path, options)
    for line in text.splitlines():
        if not line.strip().isdigit() and not _TIMES.match(line.strip()):
            lines.add(_TAG.sub("", line))
    return LoadedDocument([Section(lines.text())])
