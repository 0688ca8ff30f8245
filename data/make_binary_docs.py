"""Builds the PDF, Word and non-UTF-8 sample documents, and those that are bad on purpose.

    python data/make_binary_docs.py

The result is committed; run this only after changing binary_texts.py. Needs reportlab (in the
``dev`` extra). The same texts give the same bytes, except for the encrypted file's random key.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from datetime import datetime
from pathlib import Path

import docx
from binary_texts import DOCX, ENCODED, PDFS
from pypdf import PdfReader, PdfWriter
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate

SAMPLES = Path(__file__).parent / "sample_docs"
CHINESE_FONT = "STSong-Light"


def make_pdf(title: str, paragraphs: list[str]) -> bytes:
    """A PDF with one paragraph a page after the first two."""
    is_chinese = any(ord(letter) > 0x2E80 for letter in title)
    font = CHINESE_FONT if is_chinese else "Times-Roman"
    style = ParagraphStyle(
        "body", fontName=font, fontSize=12, leading=18, wordWrap="CJK" if is_chinese else None
    )
    story = [Paragraph(title, style), Paragraph(paragraphs[0], style)]
    for paragraph in paragraphs[1:]:
        story += [PageBreak(), Paragraph(paragraph, style)]
    buffer = io.BytesIO()
    SimpleDocTemplate(buffer, invariant=1, title=title).build(story)
    return buffer.getvalue()


def make_docx(title: str, paragraphs: list[str], table: list[list[str]]) -> bytes:
    """A Word document with a heading, paragraphs and perhaps a table."""
    document = docx.Document()
    document.core_properties.created = document.core_properties.modified = datetime(2026, 1, 1)  # noqa: DTZ001 - python-docx wants naive times
    document.add_heading(title)
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    if table:
        grid = document.add_table(len(table), len(table[0]))
        for row, values in zip(grid.rows, table, strict=True):
            for cell, value in zip(row.cells, values, strict=True):
                cell.text = value
    buffer = io.BytesIO()
    document.save(buffer)
    return with_fixed_times(buffer.getvalue())


def with_fixed_times(data: bytes) -> bytes:
    """The zip archive ``data`` with all times set to one date."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            fixed = zipfile.ZipInfo(entry.filename, (2026, 1, 1, 0, 0, 0))
            fixed.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(fixed, old.read(entry))
    return buffer.getvalue()


def make_encrypted(data: bytes) -> bytes:
    """The PDF ``data`` behind a password."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.encrypt("not in this repository", algorithm="AES-256")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def make_drawing() -> bytes:
    """A PDF without a word."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, invariant=1)
    canvas.circle(300, 400, 120, fill=1)
    canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def make_png() -> bytes:
    """A grey PNG image of 16 by 16 pixels."""

    def part(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(range(0, 256, 16)) for _ in range(16)))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", pixels) + part(b"IEND", b"")


def main() -> None:
    """Write every file."""
    pdfmetrics.registerFont(UnicodeCIDFont(CHINESE_FONT))
    files: dict[str, bytes] = {}
    for name, (title, paragraphs) in PDFS.items():
        files[name] = make_pdf(title, paragraphs)
    for name, (title, paragraphs, table) in DOCX.items():
        files[name] = make_docx(title, paragraphs, table)
    for name, (encoding, text) in ENCODED.items():
        files[name] = text.encode(encoding)
    whole_pdf, whole_docx = files["guides/concrete.pdf"], files["guides/violin-care.docx"]
    files |= {
        "bad/empty.txt": b"",
        "bad/photo_renamed.txt": make_png(),
        "bad/truncated.pdf": whole_pdf[: len(whole_pdf) // 2],
        "bad/truncated.docx": whole_docx[: len(whole_docx) // 2],
        "bad/encrypted.pdf": make_encrypted(whole_pdf),
        "bad/malformed.json": b'{"name": "spring", "months": ["March", "April",, "May"]}\n',
        "bad/scanned_no_text.pdf": make_drawing(),
    }
    for name, data in files.items():
        (SAMPLES / name).parent.mkdir(parents=True, exist_ok=True)
        (SAMPLES / name).write_bytes(data)
    print(f"{len(files)} files written to {SAMPLES.name}/")


if __name__ == "__main__":
    main()
