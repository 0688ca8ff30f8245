"""A batch, its shards, and a queue without a broker for the tests of the parts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lesson15 import BatchProcessor, CheckpointManager
from lesson15.distributed.coordinator import Coordinator
from lesson15.distributed.merge import Merge
from lesson15.distributed.plan import deal, plan
from lesson15.distributed.queue import ShardTask
from lesson15.distributed.shards import Shards
from lesson15.distributed.worker import ShardWorker
from lesson15.documents.scan import scan
from lesson15.engine.feed import Naming
from lesson15.errors import BrokerUnavailableError
from lesson15.models import BatchReport, BatchStatus
from lesson15.settings import Settings

T = TypeVar("T")
TASK = ShardTask("b", max_concurrent=2, checkpoint_interval=3, lease_seconds=10)
SETTINGS = Settings(retry_delay=0, parser_processes=1)


class FakeQueue:
    """A broker that keeps what it is told to, in a list."""

    def __init__(self) -> None:
        self.tasks: list[ShardTask] = []
        self.is_away = False

    def publish(self, task: ShardTask, count: int) -> None:
        self._check()
        self.tasks += [task] * count

    def waiting(self) -> int:
        self._check()
        return len(self.tasks)

    def _check(self) -> None:
        if self.is_away:
            raise BrokerUnavailableError(url="fake://", detail="away")


class Site:
    """One distributed batch, step by step: ``clock`` is set by hand, workers work when told."""

    def __init__(self, docs: Path, state: Path) -> None:
        self.docs, self.state = docs, state
        self.manager = CheckpointManager(state)
        # The writer of the batch belongs to a loop, as in DistributedProcessor; all that blocks
        # (the coordinator, the merge) is called from this thread, which is another one.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.queue = FakeQueue()
        self.clock = 1000.0
        self.events: list[dict[str, Any]] = []
        BatchProcessor(state_dir=state, embedder="hashing").create("b", [str(docs)])
        self.shards = Shards(self.manager.folder("b"), self.manager.keyring)
        self.shards.prepare()
        self.worker = ShardWorker(state, SETTINGS)
        self.merge: Merge
        self.coordinator: Coordinator
        self.open()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` returns, run on the loop of the batch."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def finish(self, status: BatchStatus, seconds: float) -> BatchReport:
        """End the batch."""
        return self.run(self.merge.finish(status, seconds))

    def close_merge(self) -> None:
        """Close the files of the batch, as the death of its coordinator does."""
        self.run(self.merge.aclose())

    def open(self, shards: int | None = None) -> None:
        """A new coordinator, as after a crash of the one before; as many ``shards`` as planned."""
        self.merge = self.run(Merge.open(self.manager, "b"))
        naming = Naming(self.merge.manifest.base_dir)
        parts = plan(scan([self.docs]), naming, self.merge.catalog, shard_docs=1000, least_docs=1)
        if shards is not None:
            sized = [(doc_id, 1) for part in parts for doc_id in part]
            parts = iter(deal(sized, shards))
        self.coordinator = Coordinator(
            self.merge,
            self.shards,
            self.queue,
            parts,
            TASK,
            broker_patience=60,
            clock=lambda: self.clock,
        )
        self.coordinator.listeners.append(self.events.append)

    def work_on_next(self) -> None:
        """Have the worker do the task at the head of the queue."""
        self.worker.work_on(self.queue.tasks.pop(0))

    def claim_next(self, owner: str) -> str:
        """Take the task at the head of the queue, and a shard, and do nothing with it."""
        self.queue.tasks.pop(0)
        claimed = self.shards.claim_next(owner)
        assert claimed is not None
        return claimed[0]

    def begin_next(self, documents: int, owner: str = "dead") -> str:
        """A worker that claims a shard, commits some of its documents, and falls silent."""
        shard_id = self.claim_next(owner)
        self.commit(shard_id, documents)
        return shard_id

    def next_documents(self) -> list[str]:
        """The documents of the shard that is next to be claimed; an offer has none."""
        for folder in sorted(self.shards.open.checkpoint_dir.iterdir()):
            if self.shards.lease(folder.name) is None:
                return self.sources(folder.name)
        return []

    def sources(self, shard_id: str) -> list[str]:
        """The documents of an open shard; an offer has none."""
        if not self.shards.open.folder(shard_id).manifest.exists():
            return []
        return self.shards.open.open(shard_id).manifest.sources or []

    def commit(self, shard_id: str, documents: int) -> None:
        """Work on the first ``documents`` of an open shard, and commit them."""
        naming = Naming(self.merge.manifest.base_dir)
        paths = [naming.path(doc_id) for doc_id in self.sources(shard_id)[:documents]]
        if paths:
            root = self.shards.open.checkpoint_dir
            processor = BatchProcessor(2, 1, state_dir=root, settings=SETTINGS)
            asyncio.run(processor.process_batch(paths, shard_id, resume=True))

    def run_to_end(self) -> None:
        for _ in range(200):
            if self.coordinator.step():
                return
            while self.queue.tasks:
                self.work_on_next()
            self.clock += 1
        raise AssertionError("the batch does not end")

    def closed(self) -> list[str]:
        return [event["reason"] for event in self.events if event["t"] == "closed"]

    def close(self) -> None:
        self.close_merge()
        self.worker.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def site(docs: Path, state: Path) -> Iterator[Site]:
    site = Site(docs, state)
    yield site
    site.close()


@pytest.fixture
def make_site(docs: Path, state: Path) -> Iterator[Callable[[], Site]]:
    sites: list[Site] = []

    def make() -> Site:
        sites.append(Site(docs, state))
        return sites[-1]

    yield make
    for site in sites:
        site.close()
