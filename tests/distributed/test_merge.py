"""Shards into one batch: each document once, whatever is merged twice or damaged."""

from __future__ import annotations

from pathlib import Path

from lesson15.engine.verify import verify
from lesson15.models import BatchStatus
from tests.crash import oracle
from tests.distributed.conftest import Site


def closed_shard(site: Site, documents: int) -> str:
    """One closed shard of all documents, some of them committed."""
    site.shards.create("s", sorted(map(str, site.docs.iterdir())), site.merge.manifest)
    site.commit("s", documents)
    site.shards.close("s")
    return "s"


def test_a_shard_absorbed_twice_counts_once(site: Site) -> None:
    shard = closed_shard(site, 12)
    assert site.merge.absorb(site.shards.closed, shard) == []
    site.close_merge()
    site.open()  # as after a crash before the shard was removed
    assert site.merge.absorb(site.shards.closed, shard) == []
    report = site.finish(BatchStatus.FINISHED, 1.0)
    assert verify("b", site.state).is_clean
    assert oracle.indexed(site.state, "b") == oracle.sequential(site.docs, "hashing")
    assert (report.processed_docs, report.failed_docs, report.total_docs) == (10, 2, 12)


def test_what_a_shard_has_not_committed_is_left(site: Site) -> None:
    shard = closed_shard(site, 5)
    left = site.merge.absorb(site.shards.closed, shard)
    documents = site.shards.closed.open(shard).manifest.sources
    assert documents is not None
    assert left == documents[5:]
    assert site.merge.state.settled_docs == 5


def test_a_damaged_block_is_left_to_be_done_again(site: Site) -> None:
    shard = closed_shard(site, 12)
    segment = site.shards.closed.folder(shard).segment
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    left = site.merge.absorb(site.shards.closed, shard)
    assert 0 < len(left) < 12
    assert site.merge.state.settled_docs == 12 - len(left)


def test_an_empty_batch_ends_without_an_index(site: Site, tmp_path: Path) -> None:
    report = site.finish(BatchStatus.FINISHED, 0.0)
    assert verify("b", site.state).index == "empty"
    assert report.status is BatchStatus.FINISHED
