"""Presentations (``.pptx``): one section a slide, which knows its number."""

from __future__ import annotations

import re

from lxml import etree

from lesson15.documents.archives import open_archive
from lesson15.documents.loaders.base import TextLimit
from lesson15.documents.parsed import LoadedDocument, ParseOptions, Section

_SLIDE = re.compile(r"ppt/slides/slide(\d+)\.xml")
_TEXT = "{http://schemas.openxmlformats.org/drawingml/2006/main}t"


def load(path: str, data: bytes, options: ParseOptions) -> LoadedDocument:
    """The text of each slide."""
    limit = TextLimit(path, options)
    parser = etree.XMLParser(resolve_entities=False)
    sections = {}
    with open_archive(path, data, options, "PPTX") as archive:
        for name in archive.namelist():
            if slide := _SLIDE.fullmatch(name):
                root = etree.fromstring(archive.read(name), parser)
                text = "\n".join(each.text or "" for each in root.iter(_TEXT))
                number = int(slide[1])
                sections[number] = Section(limit.count(text), meta={"slide": number})
    return LoadedDocument([sections[number] for number in sorted(sections)])
