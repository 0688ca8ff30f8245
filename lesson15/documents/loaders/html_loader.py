"""HTML pages: their visible text, with block structure kept as line breaks."""

from __future__ import annotations

import codecs
import re
from dataclasses import replace

from lesson15.documents.encoding import decode, has_bom, is_binary
from lesson15.documents.loaders.outline import Outline, language_meta, short
from lesson15.documents.parsed import LoadedDocument, ParseOptions

INVISIBLE = "script, style, template, noscript, head > :not(title)"
BLOCKS = (
    "address, article, aside, blockquote, body, br, caption, dd, details, dialog, div, dl, dt,"
    " fieldset, figcaption, figure, footer, form, h1, h2, h3, h4, h5, h6, header, hr, legend, li,"
    " main, nav, ol, option, p, pre, section, summary, table, textarea, title, tr, ul"
)
CELLS = "td, th"
PREFORMATTED = "pre, textarea"

# Marks put into the tree; as control characters they cannot be part of a page's text.
BREAK, CELL, VERBATIM, LEVEL = "\x1e", "\x1f", "\x1d", "\x1c"
_MARKS = re.compile(f"[{BREAK}{CELL}{VERBATIM}{LEVEL}]")
# LEVEL and a digit stand around headings: its level before it, END behind it.
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
TITLE, END = "9", "0"
_LEVELS = re.compile(f"{LEVEL}([0-9])")

# https://html.spec.whatwg.org/multipage/parsing.html#prescan-a-byte-stream-to-determine-its-encoding
PRESCAN_BYTES = 1024
_META_CHARSET = re.compile(rb"<meta\b[^>]*?\bcharset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
# https://encoding.spec.whatwg.org/#names-and-labels: browsers read these as their supersets.
_SUPERSETS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    # A page whose ASCII <meta> could be read is not in the UTF-16 that it declares.
    "utf-16": "utf-8",
    "utf-16-le": "utf-8",
    "utf-16-be": "utf-8",
}
# Python also knows encodings that are no charset of any page, such as unicode_escape and utf-7.
_CHARSETS = re.compile(r"utf-8|cp\d+|iso8859-\d+|koi8-[ru]|gb18030|big5hkscs|euc_j\w+|mac-\w+")


def load(path: str, data: bytes, options: ParseOptions) -> LoadedDocument:
    """The title and body text; scripts, styles and templates are left out.

    The encoding is that of the byte-order mark, of ``<meta charset>`` if the page is sound in
    it, or else detected.

    Raises:
        BinaryDocumentError: the file is not text.
        TruncatedDocumentError: the file ends inside a character.
        DocumentTooLargeError: the text outgrows its limit.
    """
    from selectolax.lexbor import LexborHTMLParser

    source = _decode_declared(data)
    if source is None:
        source = decode(data, path, expected="HTML text")
    tree = LexborHTMLParser(_MARKS.sub(" ", source))
    for node in tree.css(INVISIBLE):
        node.decompose()
    for node in tree.css(PREFORMATTED):
        node.insert_before(VERBATIM)
        node.insert_after(VERBATIM)
    for node in tree.css(BLOCKS):
        node.insert_before(BREAK)
        node.insert_after(BREAK)
    for node in tree.css(CELLS):
        node.insert_after(CELL)
    for level, tag in enumerate(HEADINGS, 1):
        for node in tree.css(tag):
            node.insert_before(f"{LEVEL}{level}")
            node.insert_after(f"{LEVEL}{END}")
    title = tree.css_first("head > title")
    if title is not None:
        title.insert_before(f"{LEVEL}{TITLE}")
        title.insert_after(f"{LEVEL}{END}")
    root = tree.root
    if root is None:
        return LoadedDocument([])
    outline = Outline(path, options, meta=language_meta(root.attributes.get("lang")))
    _layout(root.text(deep=True), outline)
    sections = [replace(section, text=_trimmed(section.text)) for section in outline.sections()]
    return LoadedDocument(sections, None if title is None else short(title.text()) or None)


def _decode_declared(data: bytes) -> str | None:
    """The page in the encoding it declares; None if it declares none or is not sound in it."""
    declared = _META_CHARSET.search(data[:PRESCAN_BYTES])
    if declared is None or has_bom(data) or is_binary(data):
        return None
    try:
        name = codecs.lookup(declared[1].decode("ascii")).name
        name = _SUPERSETS.get(name, name)
        return data.decode(name) if _CHARSETS.fullmatch(name) else None
    except (LookupError, UnicodeError):
        return None


def _layout(marked: str, outline: Outline) -> None:
    """Add the text between the marks, white space collapsed but where it is preformatted."""
    level = END
    heading: list[str] = []
    for number, part in enumerate(marked.split(VERBATIM)):
        if number % 2:
            lines = _LEVELS.sub("", part.replace(BREAK, "")).strip("\n").split("\n")
            if level != END:
                heading.extend(lines)
            else:
                for line in lines:
                    outline.add(line)
            continue
        for block in part.split(BREAK):
            marks = _LEVELS.findall(block)
            cells = [" ".join(cell.split()) for cell in _LEVELS.sub("", block).split(CELL)]
            line = "\t".join(cells).rstrip()
            if marks and marks[0] != END:
                if level != END:  # <h1><div><h2>: the outer one ends here
                    _add_heading(level, heading, outline)
                level, heading = marks[0], []
            if level == END:
                outline.add(line)
                continue
            heading.append(line)
            if marks and marks[-1] == END:
                _add_heading(level, heading, outline)
                level = END


def _add_heading(level: str, lines: list[str], outline: Outline) -> None:
    if level == TITLE:
        outline.add_preface(lines)
    else:
        outline.add_heading(int(level), " ".join(lines), lines)


def _trimmed(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")
