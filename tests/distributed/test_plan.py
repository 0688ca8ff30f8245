"""How a batch is cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesson15.checkpoint.journal import Position
from lesson15.distributed.plan import deal, halves, plan
from lesson15.engine.feed import Naming
from lesson15.events import DocSettled
from lesson15.models import DocStatus
from lesson15.stores.catalog import Catalog


@given(st.lists(st.integers(0, 10**9), max_size=200), st.integers(1, 20))
def test_every_document_is_dealt_once_and_no_hand_is_heavy(sizes: list[int], count: int) -> None:
    sized = [(str(number), size) for number, size in enumerate(sizes)]
    hands = deal(sized, count)
    assert len(hands) == count
    assert sorted(doc_id for hand in hands for doc_id in hand) == sorted(i for i, _ in sized)
    weight = dict(sized)
    loads = [sum(weight[doc_id] + 1 for doc_id in hand) for hand in hands]
    assert loads == sorted(loads, reverse=True)
    # Graham's bound for longest processing time first: 4/3 of the optimum, which is at least
    # the mean load and the largest document.
    optimum = max(sum(loads) / count, max(sizes, default=0) + 1)
    big = sorted((size + 1 for size in sizes), reverse=True)
    if len(big) > count:
        optimum = max(optimum, big[count - 1] + big[count])
    assert loads[0] <= 4 / 3 * optimum + 1


def test_halves_keep_every_document_and_the_balance() -> None:
    assert halves(["9", "7", "5", "3", "1"]) == [["9", "5", "1"], ["7", "3"]]
    assert halves(["9"]) == [["9"]]
    assert halves([]) == []


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.sqlite")
    yield catalog
    catalog.close()


def test_plan_leaves_out_what_is_settled_or_named_twice(tmp_path: Path, catalog: Catalog) -> None:
    paths = [str(tmp_path / f"{number}.txt") for number in range(100)]
    naming = Naming(str(tmp_path))
    settled = [DocSettled(doc_id=f"{n}.txt", status=DocStatus.DONE) for n in range(40)]
    catalog.apply(settled, Position(1, 1))
    parts = list(plan(paths + paths[50:], naming, catalog, shard_docs=1000, least_docs=3))
    assert len(parts) == 16
    planned = [doc_id for part in parts for doc_id in part]
    assert sorted(planned) == sorted(f"{number}.txt" for number in range(40, 100))


def test_a_small_batch_is_not_cut_into_crumbs(tmp_path: Path, catalog: Catalog) -> None:
    paths = [str(tmp_path / f"{number}.txt") for number in range(25)]
    sizes = [len(part) for part in plan(paths, Naming(str(tmp_path)), catalog, 1000, 10)]
    assert sizes == [13, 12]
    (alone,) = plan(paths[:3], Naming(str(tmp_path)), catalog, 1000, 10)
    assert len(alone) == 3


def test_plan_streams_a_window_at_a_time(tmp_path: Path, catalog: Catalog) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield str(tmp_path / f"{read}.txt")

    parts = plan(endless(), Naming(str(tmp_path)), catalog, shard_docs=10, least_docs=3)
    assert len(next(parts)) == 10
    assert read == 320
