"""Cutting a batch into shards of like size, a window of documents at a time.

Documents are dealt out longest processing time first (Graham, "Bounds on Multiprocessing Timing
Anomalies", 1969), with the size of a file for its time, so the shards of a window take about as
long as each other. Memory holds one window, never the batch.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from itertools import islice

from lesson15.engine.feed import Naming
from lesson15.stores.catalog import Catalog

_FEWEST_SHARDS = 16  # of a batch: a few a worker, so that a slow one does not hold up the rest
_WINDOW_SHARDS = 32
_LOOKUP = 500


def plan(
    paths: Iterable[str], naming: Naming, catalog: Catalog, shard_docs: int, least_docs: int
) -> Iterator[list[str]]:
    """The documents of each shard, by id, the largest first; settled ones are left out.

    Args:
        paths: every document of the batch.
        naming: how paths become ids.
        catalog: knows what is settled.
        shard_docs: documents in a shard, about.
        least_docs: documents in a shard at least, as it ends with a worker half idle.
    """
    source = iter(paths)
    fewest = _FEWEST_SHARDS
    while window := list(islice(source, shard_docs * _WINDOW_SHARDS)):
        ids = list(dict.fromkeys(map(naming.doc_id, window)))
        settled = settled_among(ids, catalog)
        fresh = [doc_id for doc_id in ids if doc_id not in settled]
        count = max(min(fewest, len(fresh) // least_docs), -(-len(fresh) // shard_docs))
        yield from deal([(doc_id, _size(naming.path(doc_id))) for doc_id in fresh], count)
        fewest = 1


def deal(sized: list[tuple[str, int]], count: int) -> list[list[str]]:
    """``sized`` (id and bytes) as ``count`` lists of about equal bytes, the largest first."""
    hands: list[list[str]] = [[] for _ in range(count)]
    loads = [(0, number) for number in range(count)]
    for doc_id, size in sorted(sized, key=lambda item: -item[1]):
        load, number = heapq.heappop(loads)
        hands[number].append(doc_id)
        heapq.heappush(loads, (load + size + 1, number))  # 1: empty files spread as well
    return [hands[number] for _, number in sorted(loads, key=lambda item: -item[0])]


def halves(documents: list[str]) -> list[list[str]]:
    """``documents`` (largest first) as two lists of about equal bytes, or one if there is one."""
    return [part for part in (documents[::2], documents[1::2]) if part]


def settled_among(ids: list[str], catalog: Catalog) -> set[str]:
    """Those of ``ids`` that the catalogue has a verdict on."""
    found: set[str] = set()
    for start in range(0, len(ids), _LOOKUP):
        found.update(catalog.lookup(ids[start : start + _LOOKUP]))
    return found


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - strings, for speed
    except OSError:
        return 0  # it is skipped or fails by name when its turn comes
