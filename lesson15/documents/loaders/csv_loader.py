"""CSV files: one block of ``column: value`` lines for each row."""

from __future__ import annotations

import csv
import io

from lesson15.documents.encoding import decode
from lesson15.documents.loaders.base import BoundedLines
from lesson15.documents.parsed import LoadedDocument, ParseOptions, Section
from lesson15.errors import MalformedDocumentError

DELIMITERS = ",;\t|"
SAMPLE_CHARS = 16_384

# The csv module's own limit of 131,072 characters a cell (a setting of the whole process) is
# less than the documents that people keep in cells; the size of the file bounds them already.
csv.field_size_limit(2**31 - 1)


def load(path: str, data: bytes, options: ParseOptions) -> LoadedDocument:
    """Rows as ``column: value`` lines, a blank line between two rows.

    The first row names the columns. Empty cells are left out; cells beyond the header are named
    by their number, from 1. A file of one row yields its cells.

    Raises:
        MalformedDocumentError: the quoting is broken.
        DocumentTooLargeError: long column names make the text outgrow its limit.
        BinaryDocumentError: the file holds NULs or is otherwise not text.
    """
    text, dialect = _dialect(decode(data, path, expected="CSV text"))
    rows = csv.reader(io.StringIO(text, newline=""), dialect, strict=True)
    lines = BoundedLines(path, options)
    try:
        header = next((row for row in rows if any(cell.strip() for cell in row)), [])
        names = [cell.strip() or f"column {number}" for number, cell in enumerate(header, 1)]
        only_header = True
        for row in rows:
            if _add_row(lines, names, row):
                only_header = False
    except csv.Error as error:
        raise MalformedDocumentError(
            path=path, expected="CSV", detail=f"line {rows.line_num}: {error}"
        ) from error
    if only_header:
        for cell in header:
            lines.add(cell.strip())
    return LoadedDocument([Section(lines.text())])


def _add_row(lines: BoundedLines, names: list[str], row: list[str]) -> bool:
    """Append the filled cells of ``row``; whether there were any."""
    filled = False
    for index, cell in enumerate(row):
        if value := cell.strip():
            name = names[index] if index < len(names) else f"column {index + 1}"
            lines.add(f"{name}: {value}")
            filled = True
    if filled:
        lines.add("")
    return filled


def _dialect(text: str) -> tuple[str, type[csv.Dialect]]:
    """The text without Excel's ``sep=`` line, and the dialect of what remains."""

    class Sniffed(csv.excel):
        """Commas and doubled quotes, unless the file shows otherwise."""

    first, _, rest = text.partition("\n")
    if first[:4].lower() == "sep=" and len(first.rstrip("\r")) == 5:
        Sniffed.delimiter = first[4]
        return rest, Sniffed
    # The sniffer also guesses quoting rules, and guesses doubled quotes wrongly when the sample
    # shows none: only its delimiter is taken.
    try:
        Sniffed.delimiter = csv.Sniffer().sniff(_whole_lines(text), DELIMITERS).delimiter
    except csv.Error:
        Sniffed.delimiter = max(DELIMITERS, key=first.count)
    return text, Sniffed


def _whole_lines(text: str) -> str:
    """The head of ``text``, cut at the end of a line where there is one."""
    sample = text[:SAMPLE_CHARS]
    if len(text) > SAMPLE_CHARS and "\n" in sample:
        sample = sample[: sample.rindex("\n")]
    return sample
