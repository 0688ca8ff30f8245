"""Claims, leases and the fence."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from lesson15 import BatchProcessor
from lesson15.checkpoint.layout import batch_lock
from lesson15.distributed.shards import Lease, ShardFileSystem
from lesson15.errors import CheckpointWriteError
from lesson15.events import DocSettled, Event
from tests.distributed.conftest import SETTINGS, Site


def test_of_many_claims_one_succeeds(site: Site) -> None:
    site.shards.create("s", ["a.txt"], site.merge.manifest)
    with ThreadPoolExecutor(16) as threads:
        leases = list(threads.map(lambda n: site.shards.claim("s", f"owner {n}"), range(16)))
    (winner,) = filter(None, leases)
    assert site.shards.lease("s") == winner
    assert not list(site.shards.open.folder("s").root.glob("claim-*"))


def test_a_closed_shard_can_be_neither_claimed_nor_renewed(site: Site) -> None:
    site.shards.create("s", ["a.txt"], site.merge.manifest)
    site.shards.create("t", ["a.txt"], site.merge.manifest)
    lease = site.shards.claim("s", "me")
    assert lease is not None
    site.shards.renew("s", Lease("me", beat=1))
    site.shards.close("s")
    site.shards.close("t")
    with pytest.raises(FileNotFoundError):
        site.shards.renew("s", lease)
    assert site.shards.claim("t", "me") is None
    assert not site.shards.is_open("s")


def test_no_commit_of_a_worker_passes_the_fence(site: Site) -> None:
    """Closed while a document is in work: the worker fails, and what was closed does not change."""
    site.coordinator.step()
    shard_id = min(folder.name for folder in site.shards.open.checkpoint_dir.iterdir())
    folder = site.shards.open.folder(shard_id).root
    processor = BatchProcessor(
        1, 1, state_dir=site.shards.open.checkpoint_dir, settings=SETTINGS, fs=ShardFileSystem()
    )
    before: dict[str, bytes] = {}

    def close(event: Event) -> None:
        if isinstance(event, DocSettled) and not before:
            site.shards.close(shard_id)
            closed = site.shards.closed.folder(shard_id)
            before["checkpoint"] = closed.checkpoint.read_bytes()

    processor.listeners.append(close)
    with pytest.raises(CheckpointWriteError):
        asyncio.run(processor.process_batch([site.docs], shard_id, resume=True))
    closed = site.shards.closed.folder(shard_id)
    assert closed.checkpoint.read_bytes() == before["checkpoint"]
    assert not folder.exists(), "the worker made the folder again"


def test_a_late_worker_does_not_make_its_folder_again(site: Site) -> None:
    """The lock of the shard made it, empty: others claimed it, and a coordinator that resumed after
    a crash could not close it beside the closed one, ever.
    """
    site.shards.create("s", ["a.txt"], site.merge.manifest)
    site.shards.close("s")
    folder = site.shards.open.folder("s")
    with pytest.raises(CheckpointWriteError), batch_lock(folder):
        pass
    assert not folder.root.exists()
