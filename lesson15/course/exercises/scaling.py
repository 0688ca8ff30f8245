"""Exercises of notebook 08: shards, merging and the limit of speed."""

from __future__ import annotations

import builtins
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from lesson15.course.exercise import Exercise


def _no_hash(_value: object) -> int:
    raise RuntimeError("hash() of a text differs from process to process; zlib.crc32 does not")


def _check_shard(mine: Callable[..., Any]) -> str | None:
    names = [f"docs/{n % 7}/file-{n:05}.txt" for n in range(6000)]
    with patch.object(builtins, "hash", _no_hash):
        found = [mine(name, 6) for name in names]
    if any(number not in range(6) for number in found):
        return "Shards are numbered from 0 to shards - 1."
    if found != [mine(name, 6) for name in names]:
        return "The same document must always go to the same shard."
    sizes = [Counter(found)[n] for n in range(6)]
    if max(sizes) > 1.25 * min(sizes):
        return f"The shards hold {sizes} documents: spread them evenly."
    return None


def _check_merge(mine: Callable[..., Any]) -> str | None:
    shards = [
        [(0.9, "a"), (0.5, "b"), (0.1, "c")],
        [(0.8, "d"), (0.5, "b"), (0.4, "e")],
        [],
    ]
    found = [tuple(hit) for hit in mine(shards, 4)]
    if len({doc for _, doc in found}) < len(found):
        return "A document was found twice: it lay in two shards, and must come once."
    if found != [(0.9, "a"), (0.8, "d"), (0.5, "b"), (0.4, "e")]:
        return f"The best four of all shards are wanted, best first; you give {found}."
    return None


def _check_amdahl(mine: Callable[..., Any]) -> str | None:
    for share, workers, wanted in [(1.0, 8, 8.0), (0.0, 8, 1.0), (0.9, 10, 5.2632), (0.5, 1, 1.0)]:
        found = mine(share, workers)
        if abs(found - wanted) > 0.01:
            return (
                f"With {share:.0%} of the work parallel and {workers} workers it is {wanted:.4g} "
                f"times as fast, and you give {found:.4g}: the rest takes as long as ever."
            )
    return None


EXERCISES = [
    Exercise(
        question="""
        Write `mine(doc_id, shards)`: the number of the shard, from 0, that a document belongs
        to. It must be the same in every process and on every day, and spread documents evenly.
        """,
        hint="zlib.crc32(doc_id.encode()) % shards. Why not hash()? Run python twice and see.",
        answer="""
        import zlib

        def mine(doc_id, shards):
            return zlib.crc32(doc_id.encode()) % shards
        """,
        check=_check_shard,
        wrong={
            "def mine(doc_id, shards): return hash(doc_id) % shards": "process to process",
            "def mine(doc_id, shards): return len(doc_id) % shards": "evenly",
            "import random\n"
            "def mine(doc_id, shards): return random.randrange(shards)": "same shard",
            "import zlib\n"
            "def mine(doc_id, shards): return zlib.crc32(doc_id.encode())": "numbered from 0",
        },
    ),
    Exercise(
        question="""
        Each shard gives its hits as a list of (score, doc_id), best first. Write
        `mine(shards, k)`: the `k` best of all, best first, no document twice.
        """,
        hint="Sort all hits together, and keep the first of each document; then cut at k.",
        answer="""
        def mine(shards, k):
            best = {}
            for score, doc_id in sorted((hit for hits in shards for hit in hits), reverse=True):
                best.setdefault(doc_id, score)
            return [(score, doc_id) for doc_id, score in best.items()][:k]
        """,
        check=_check_merge,
        wrong={
            "def mine(shards, k): return sorted(sum(shards, []), reverse=True)[:k]": "found twice",
            "def mine(shards, k): return sorted(set(sum(shards, [])))[:k]": "best four",
            "def mine(shards, k): return [hits[0] for hits in shards if hits][:k]": "best four",
        },
    ),
    Exercise(
        question="""
        A share of the work, `share` from 0 to 1, can be spread over workers; the rest cannot.
        Write `mine(share, workers)`: how many times as fast it gets (Amdahl's law).
        """,
        hint="The time is (1 - share) + share / workers of what it was.",
        answer="""
        def mine(share, workers):
            return 1 / ((1 - share) + share / workers)
        """,
        check=_check_amdahl,
        wrong={
            "def mine(share, workers): return workers": "takes as long as ever",
            "def mine(share, workers): return share * workers": "takes as long as ever",
            "def mine(share, workers): return 1 + share * (workers - 1)": "takes as long as ever",
        },
    ),
]
