"""Exercises of notebook 06: decoding, chunking and searching."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from lesson15.course.exercise import Exercise


def _check_decode(mine: Callable[..., Any]) -> str | None:
    cases = [
        ("plain: caf\u00e9".encode(), "plain: caf\u00e9"),
        (b"\xef\xbb\xbfwith a mark", "with a mark"),
        ("sixteen: \u8336".encode("utf-16"), "sixteen: \u8336"),
        ("old: caf\u00e9".encode("latin-1"), "old: caf\u00e9"),
    ]
    for data, wanted in cases:
        found = mine(data)
        if found != wanted:
            return f"{data!r} reads {wanted!r}, and you give {found!r}."
    return None


def _check_chunks(mine: Callable[..., Any]) -> str | None:
    text = "".join(chr(0x4E00 + n) for n in range(95))  # 95 different characters
    found = mine(text, 30, 10)
    if any(len(chunk) > 30 for chunk in found):
        return "A chunk is longer than the limit of 30 characters."
    if not found or not found[0].startswith(text[:1]) or not found[-1].endswith(text[-1:]):
        return "The beginning or the end of the text is missing."
    for left, right in pairwise(found):
        if left[-10:] != right[:10]:
            return "Neighbours must share 10 characters, or a sentence on the border is in neither."
    if len(found) > 5:
        return f"Five chunks are enough, and yours are {len(found)}: the last holds nothing new."
    if mine("short", 30, 10) != ["short"]:
        return "A text that fits in one chunk is one chunk."
    return None


def _check_search(mine: Callable[..., Any]) -> str | None:
    vectors = np.array([[9.0, 9.0], [0.1, 0.0], [0.0, 5.0], [-3.0, 0.0]])
    found = [int(n) for n in mine(np.array([2.0, 0.0]), vectors, 2)]
    if found == [0, 1]:
        return "Row 0 wins only by its length: cosine similarity divides by both lengths."
    if found == [3, 2]:
        return "These are the farthest: the best come first, with the highest similarity."
    if found != [1, 0]:
        return f"The two nearest in direction are rows 1 and 0, in this order; you give {found}."
    return None


EXERCISES = [
    Exercise(
        question="""
        Write `mine(data)`: the text of a file, from its bytes. A byte order mark says UTF-8 or
        UTF-16 and is no part of the text. Without one it is UTF-8 if it can be, else Latin-1.
        """,
        hint="""
        data.startswith(codecs.BOM_UTF8)? Then "utf-8-sig". BOM_UTF16_LE or _BE? Then "utf-16".
        Else try "utf-8" and catch UnicodeDecodeError.
        """,
        answer="""
        import codecs

        def mine(data):
            if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return data.decode("utf-16")
            try:
                return data.decode("utf-8-sig")
            except UnicodeDecodeError:
                return data.decode("latin-1")
        """,
        check=_check_decode,
        wrong={
            "def mine(data): return data.decode('utf-8', 'ignore')": "with a mark",
            "def mine(data): return data.decode('latin-1')": "plain",
            "def mine(data): return data.decode('utf-8-sig', 'replace')": "sixteen",
        },
    ),
    Exercise(
        question="""
        Write `mine(text, size, overlap)`: cut `text` into chunks of at most `size` characters,
        each of which begins with the last `overlap` characters of the one before it. All of the
        text must be in some chunk, and no chunk may hold nothing new.
        """,
        hint="Chunks begin every size - overlap characters; stop when one reaches the end.",
        answer="""
        def mine(text, size, overlap):
            chunks, start = [], 0
            while True:
                chunks.append(text[start : start + size])
                if start + size >= len(text):
                    return chunks
                start += size - overlap
        """,
        check=_check_chunks,
        wrong={
            """
            def mine(text, size, overlap):
                return [text[n : n + size] for n in range(0, len(text), size)]
            """: "share 10",
            """
            def mine(text, size, overlap):
                return [text[n : n + size + overlap] for n in range(0, len(text), size)]
            """: "longer than the limit",
            """
            def mine(text, size, overlap):
                step = size - overlap
                return [text[n : n + size] for n in range(0, len(text) - size, step)]
            """: "is missing",
        },
    ),
    Exercise(
        question="""
        Write `mine(query, vectors, k)`: the numbers of the `k` rows of the array `vectors`
        (rows x dimensions) most similar to the vector `query` by the cosine, best first.
        """,
        hint="Divide each row by np.linalg.norm of it; then vectors @ query, np.argsort, reversed.",
        answer="""
        import numpy as np

        def mine(query, vectors, k):
            lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
            return np.argsort(-(vectors @ query) / lengths)[:k]
        """,
        check=_check_search,
        wrong={
            "import numpy as np\n"
            "def mine(query, vectors, k): return np.argsort(-(vectors @ query))[:k]": "length",
            "import numpy as np\n"
            "def mine(query, vectors, k):\n"
            "    return np.argsort(vectors @ query / np.linalg.norm(vectors, axis=1))[\n"
            "        :k]": "farthest",
            "import numpy as np\n"
            "def mine(query, vectors, k):\n"
            "    return np.argsort(np.linalg.norm(vectors - query, axis=1))[:k]": "in direction",
        },
    ),
]
