"""Splitting text into chunks that the embedding model reads to their end.

all-MiniLM-L6-v2 reads 256 tokens. Measured with its tokenizer, a character of English is 0.22
tokens, a Chinese, Cyrillic or Arabic one about 1, a Korean syllable 1.6. Lengths are therefore
counted in *characters of English*: a wide character weighs as much as several.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from lesson15.documents.parsed import TextKind

if TYPE_CHECKING:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

WIDE_WEIGHT = 800 / 220
"""800 characters of English and 220 of Chinese both come near 256 tokens."""
HANGUL_EXTRA_WEIGHT = 0.6 * WIDE_WEIGHT

WINDOW_CHUNKS = 8
"""Chunks' worth of text that the splitter sees at once. It is quadratic where it finds no sentence
or line to split at: 1 MB of Latin letters without a space takes 8 s in one piece, and 1 MB of
Chinese without a full stop 12 s even in windows of 16,384 characters."""

_WIDE = re.compile("[\u0370-\u1fff\u2e80-\uffef\U00010000-\U0010ffff]+")
_HANGUL = re.compile("[\uac00-\ud7a3]+")

_LINE_ENDS = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
_CLEANED: dict[int, str | None] = {
    **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0))),  # C0, DEL, C1: dropped
    **dict.fromkeys(range(0x1C, 0x20), " "),  # these separate words
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),  # half a character is none
    **dict.fromkeys((0xFEFF, 0xFFFE, 0xFFFF)),
}
del _CLEANED[ord("\t")], _CLEANED[ord("\n")]
_UNCLEAN = re.compile(f"[{re.escape(''.join(map(chr, _CLEANED)))}]")


def normalize(text: str) -> str:
    r"""``text`` in NFC with ``\n`` line ends, without control characters and lone surrogates."""
    text = _LINE_ENDS.sub("\n", text)
    text = _UNCLEAN.sub(lambda match: _CLEANED[ord(match[0])] or "", text)
    return unicodedata.normalize("NFC", text)


def spans(text: str, kind: TextKind, chunk_chars: int, overlap: int) -> list[tuple[int, int]]:
    """Where the chunks of ``text`` begin and end, in order; the same text gives the same chunks.

    No chunk is blank, and what is in none of them is white space.

    Args:
        text: any text, as :func:`normalize` leaves it.
        kind: whether Markdown structure guides the splitting.
        chunk_chars: the longest chunk, in characters of English.
        overlap: what neighbours share at most, in the same unit; half a chunk is the most.

    Raises:
        ValueError: ``chunk_chars`` is below 1 or ``overlap`` below 0.

    Example:
        >>> spans("To be. Or not.", "plain", 8, 0)
        [(0, 6), (7, 14)]
    """
    if chunk_chars < 1 or overlap < 0:
        raise ValueError(f"chunk_chars={chunk_chars}, overlap={overlap}")
    found: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        window = text[start : start + WINDOW_CHUNKS * chunk_chars]
        capacity, shared = _capacity(window, chunk_chars, overlap)
        window = window[: WINDOW_CHUNKS * capacity]
        pieces = _splitter(kind, capacity, shared).chunk_indices(window)
        step = len(window)
        # The last piece may be cut by the window: the next window begins with it.
        if start + step < len(text) and pieces and pieces[-1][0] > 0:
            step, _ = pieces.pop()
        for offset, piece in pieces:
            found.extend(_fitting(start + offset, piece, kind, chunk_chars, overlap))
        start += step
    return found


def weight(text: str) -> float:
    """The length of ``text`` in characters of English."""
    wide = sum(len(run) for run in _WIDE.findall(text))
    hangul = sum(len(run) for run in _HANGUL.findall(text)) if wide else 0
    return len(text) + wide * (WIDE_WEIGHT - 1) + hangul * HANGUL_EXTRA_WEIGHT


def _capacity(text: str, chunk_chars: int, overlap: int) -> tuple[int, int]:
    """The chunk size and overlap, in true characters, for text of this mixture."""
    narrowing = len(text) / weight(text)
    capacity = max(1, int(chunk_chars * narrowing))
    return capacity, min(int(overlap * narrowing), capacity // 2)


def _fitting(
    start: int, piece: str, kind: TextKind, chunk_chars: int, overlap: int
) -> list[tuple[int, int]]:
    """``piece``, which begins at ``start``, or its parts if its window made it seem lighter."""
    if not piece.strip():
        return []
    if len(piece) == 1 or weight(piece) <= chunk_chars:
        return [(start, start + len(piece))]
    capacity, shared = _capacity(piece, chunk_chars, overlap)
    return [
        span
        for offset, part in _splitter(kind, capacity, shared).chunk_indices(piece)
        for span in _fitting(start + offset, part, kind, chunk_chars, overlap)
    ]


@lru_cache(maxsize=256)
def _splitter(kind: TextKind, capacity: int, overlap: int) -> MarkdownSplitter | TextSplitter:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    return (MarkdownSplitter if kind == "markdown" else TextSplitter)(capacity, overlap)
