"""HTML through selectolax: what a reader sees, without scripts, styles and navigation."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser

from lesson15.documents.encoding import decode
from lesson15.documents.parsed import LoadedText

_META_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?\s*([A-Za-z0-9_-]+)", re.IGNORECASE)
_NOISE = ["script", "style", "noscript", "template", "nav", "svg", "iframe"]
_BLOCK = "address article aside blockquote br caption dd div dl dt figcaption footer form h1 h2 h3 h4 h5 h6 header hr li main ol p pre section table td th title tr ul".split()
_BLANK_LINES = re.compile(r"\n\s*\n+")
_SPACES = re.compile(r"[ \t]+")


def load_html(path: str, data: bytes) -> LoadedText:
    """The visible text, one block a line, title first."""
    tree = LexborHTMLParser(_decode(path, data))
    tree.strip_tags(_NOISE)
    for node in tree.css(",".join(_BLOCK)):
        node.insert_before("\n")
        node.insert_after("\n")
    title = tree.css_first("title")
    heading = title.text(strip=True) if title else ""
    body = tree.body.text() if tree.body else ""
    lines = (_SPACES.sub(" ", line).strip() for line in f"{heading}\n{body}".split("\n"))
    return LoadedText(_BLANK_LINES.sub("\n\n", "\n".join(lines)).strip())


def _decode(path: str, data: bytes) -> str:
    """By the page's own word where it holds, else by detection."""
    declared = _META_CHARSET.search(data[:4096])
    if declared:
        try:
            return data.decode(declared[1].decode("ascii"))
        except (UnicodeDecodeError, LookupError):
            pass  # pages lie about their encoding
    return decode(path, data, "HTML")
