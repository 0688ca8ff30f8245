"""The coordinator: hands shards out, watches their leases, merges what comes back.

Everything is decided here, by one process that holds the lock of the batch, and nothing that it
knows is needed later: after a crash the next coordinator closes the shards that are left, merges
what they have, and plans the rest anew.

A shard is closed, and what it committed is merged, when its worker says that it has ended, when
its lease lapses (the worker died or hangs), or when it is stolen from (another worker is idle).
What is left becomes one or two new shards.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.distributed.merge import Merge
from lesson15.distributed.plan import halves
from lesson15.distributed.queue import ShardQueue, ShardTask
from lesson15.distributed.shards import Lease, Shards
from lesson15.errors import (
    BatchNotFoundError,
    BrokerUnavailableError,
    CorruptCheckpointError,
    ShardFailedError,
    WorkerLostError,
)
from lesson15.logs import get_logger
from lesson15.models import BatchState

log = get_logger(__name__)
Event = dict[str, Any]
Listener = Callable[[Event], None]

_SPARE_TASKS = 8  # in the queue beyond one for each busy worker, so that none waits for a poll
_LOST_SECONDS = 5.0  # a task that is neither in the queue nor claimed after this time is lost
_REPEAT_SECONDS = 120.0  # as above, where the queue never empties because others use it
_LONELY_SECONDS = 30.0  # without any worker, before the user is told
_OLD_ENOUGH_SECONDS = 2.0  # for a shard's pace to be known
_WORTH_STEALING_SECONDS = 5.0  # that a shard would go on at its pace
_MAX_ATTEMPTS = 3
_MAX_LAPSES = 5  # of a shard of one document without a verdict on it


class Rank(IntEnum):
    """Which shards go first: what was taken over should not wait behind what is planned."""

    TAKEN_OVER = 0
    PLANNED = 1
    OFFER = 2


@dataclass(slots=True, eq=False)
class _Shard:
    """A shard that is open. Times are of this process's monotonic clock."""

    shard_id: str
    documents: int
    published: float = 0.0
    lease: Lease | None = None
    claimed: float = 0.0
    seen: float = 0.0
    lapses: int = 0  # of this and its forerunners in a row, none with a document settled
    errors: int = 0  # as above, ended by an error


class Coordinator:
    """Works off one batch, whose lock the caller holds; used by one thread at a time.

    Args:
        merge: the batch.
        shards: where its shards lie.
        queue: how workers get them.
        plan: the documents of each shard.
        task: what workers are told.
        broker_patience: seconds that the broker may be away.
        clock: seconds, monotonic; for tests.
    """

    def __init__(
        self,
        merge: Merge,
        shards: Shards,
        queue: ShardQueue,
        plan: Iterator[list[str]],
        task: ShardTask,
        broker_patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._merge = merge
        self._shards = shards
        self._queue = queue
        self._plan: Iterator[list[str]] | None = plan
        self._task = task
        # What a stolen shard's worker has not committed is done again: there must be more left.
        self._most_redone = task.max_concurrent + task.checkpoint_interval
        self._broker_patience = broker_patience
        self._clock = clock
        self._number = 0
        self._ready: deque[_Shard] = deque()
        self._waiting: list[_Shard] = []
        self._running: list[_Shard] = []
        self._offer: _Shard | None = None
        self._broker_lost: float | None = None
        self._looked_for_lost = clock()
        self._lonely: float | None = clock()
        self.listeners: list[Listener] = []

    def step(self) -> bool:
        """Do what there is to do now, and return whether the batch is done.

        Raises:
            BrokerUnavailableError: the broker has been away for too long.
            ShardFailedError: a shard failed on every attempt.
            CheckpointWriteError, CorruptCheckpointError: the shared storage is at fault.
        """
        self._watch()
        try:
            self._fill_queue()
            self._find_lost()
            self._steal()
            self._broker_lost = None
            self._tell_if_lonely()
        except BrokerUnavailableError as error:
            if self._broker_lost is None:
                self._broker_lost = self._clock()
                log.error("broker away; trying on", error=str(error))  # noqa: TRY400 - one line will do
            elif self._clock() - self._broker_lost > self._broker_patience:
                raise
        return not (self._plan or self._ready or self._waiting or self._running)

    def take_over_leftovers(self) -> None:
        """Merge what an earlier coordinator left; call before the first step."""
        for shard_id in self._shards.close_all():
            try:
                self._merge.absorb(self._shards.closed, shard_id)
            except (BatchNotFoundError, CorruptCheckpointError) as error:
                log.info("nothing to take over", shard=shard_id, error=str(error))
            self._shards.delete(shard_id)

    def stop(self) -> None:
        """Close every shard: workers stop at their next sign of life; what they have is kept."""
        self._plan = None
        while shards := [*self._running, *self._waiting, *self._ready]:
            self._close(shards[0], "cancelled")
        self._ready.clear()

    def settled(self) -> tuple[int, int]:
        """Documents done, and failed or skipped, so far; open shards included."""
        states = [self._merge.state]
        states += filter(None, map(self._state_of, self._running))
        done = sum(state.processed_docs for state in states)
        return done, sum(state.settled_docs for state in states) - done

    # --- watching -----------------------------------------------------------------------------

    def _watch(self) -> None:
        # Those that are ready too: a task that is left over may have led a worker to them.
        for shard in [*self._ready, *self._waiting, *self._running]:
            lease = self._shards.lease(shard.shard_id)
            if lease is None:
                continue
            now = self._clock()
            if shard.lease is None:
                self._forget(shard)
                self._running.append(shard)
                shard.claimed = now
                self._tell("claimed", shard, owner=lease.owner)
            if lease != shard.lease:
                shard.lease, shard.seen = lease, now
            if lease.has_ended:
                self._close(shard, "ended")
            elif now - shard.seen > self._task.lease_seconds:
                self._close(shard, "lapsed")

    def _close(self, shard: _Shard, reason: str) -> None:
        """Fence a shard, merge what it has committed, and make new ones of what is left."""
        self._forget(shard)
        self._shards.close(shard.shard_id)
        left = self._merge.absorb(self._shards.closed, shard.shard_id)
        owner = shard.lease.owner if shard.lease else None
        if left and reason in ("lapsed", "ended"):
            cause = "its lease lapsed" if reason == "lapsed" else _cause(shard)
            name = shard.shard_id
            log.warning("shard taken over", shard=name, owner=owner, left=len(left), cause=cause)
        new = [] if reason == "cancelled" else self._successors(shard, left, reason)
        self._ready.extendleft(reversed(new))
        self._shards.delete(shard.shard_id)
        into = [successor.shard_id for successor in new]
        self._tell("closed", shard, reason=reason, owner=owner, left=len(left), into=into)

    def _forget(self, shard: _Shard) -> None:
        for shards in (self._ready, self._waiting, self._running):
            if shard in shards:
                shards.remove(shard)

    def _successors(self, shard: _Shard, left: list[str], reason: str) -> list[_Shard]:
        """New shards of what is left of ``shard``."""
        if not left:
            return []
        errors = shard.errors + 1 if reason == "ended" else 0
        if errors == _MAX_ATTEMPTS and shard.lease is not None:
            raise ShardFailedError(
                path=self._shards.root, owner=shard.lease.owner, detail=_cause(shard)
            )
        is_stuck = reason == "lapsed" and len(left) == shard.documents
        lapses = shard.lapses + 1 if is_stuck else 0
        if lapses >= _MAX_LAPSES and len(left) == 1:
            lost = WorkerLostError(path=left[0], count=lapses)
            self._merge.give_up(left[0], lost, lapses)
            return []
        # A shard that kills its workers is halved, until the document that does it is alone.
        parts = halves(left) if is_stuck or reason == "stolen" else [left]
        return [self._create(part, Rank.TAKEN_OVER, lapses, errors) for part in parts]

    def _create(self, documents: list[str], rank: Rank, lapses: int = 0, errors: int = 0) -> _Shard:
        shard_id = self._new_id(rank)
        self._shards.create(shard_id, documents, self._merge.manifest)
        return _Shard(shard_id, len(documents), lapses=lapses, errors=errors)

    def _new_id(self, rank: Rank) -> str:
        """Workers take shards in the order of their ids; none is ever used again."""
        self._number += 1
        return f"{rank}-{self._number:06}-{uuid.uuid4().hex[:8]}"

    # --- the queue ----------------------------------------------------------------------------

    def _fill_queue(self) -> None:
        """Keep a few tasks waiting: the batch is planned as it goes, and a lost queue is small."""
        room = len(self._running) + _SPARE_TASKS - len(self._waiting)
        while len(self._ready) < room and self._plan is not None:
            documents = next(self._plan, None)
            if documents is None:
                self._plan = None
            else:
                self._ready.append(self._create(documents, Rank.PLANNED))
        shards = list(self._ready)[: max(room, 0)]
        if shards:
            self._publish(shards)
            for _ in shards:
                self._waiting.append(self._ready.popleft())

    def _publish(self, shards: list[_Shard]) -> None:
        self._queue.publish(self._task, len(shards))
        for shard in shards:
            shard.published = self._clock()
            self._tell("published", shard)

    def _find_lost(self) -> None:
        """Publish again what a broker forgot; a task too many finds no shard and is dropped."""
        now = self._clock()
        unclaimed = [*self._waiting, *filter(None, [self._offer])]
        old = [shard for shard in unclaimed if now - shard.published > _LOST_SECONDS]
        if not old or now - self._looked_for_lost < _LOST_SECONDS / 2:
            return
        self._looked_for_lost = now
        if self._queue.waiting():
            old = [shard for shard in old if now - shard.published > _REPEAT_SECONDS]
        if old:
            self._publish(old)

    def _tell_if_lonely(self) -> None:
        """Say once, each time, that there seems to be no worker."""
        if self._running or not self._waiting:
            self._lonely = self._clock()
        elif self._lonely is not None and self._clock() - self._lonely > _LONELY_SECONDS:
            self._lonely = None
            log.error("no worker takes the shards: start some with `lesson15 worker`, on this "
                      "broker and state folder", waiting=len(self._waiting))  # fmt: skip

    def _steal(self) -> None:
        """Split the shard that would go on for longest, once a worker is known to be idle.

        That is asked by an offer: a task without documents, which waits in the queue until
        a worker is free to take it.
        """
        if self._plan or self._ready or self._waiting:
            return
        victim = self._slowest()
        if self._offer is None:
            if victim is not None:
                self._offer = _Shard(self._new_id(Rank.OFFER), 0)
                self._shards.create_offer(self._offer.shard_id)
                self._publish([self._offer])
        elif self._shards.lease(self._offer.shard_id) is not None:
            self._shards.close(self._offer.shard_id)
            self._shards.delete(self._offer.shard_id)
            self._offer = None
            if victim is not None:
                self._close(victim, "stolen")

    def _slowest(self) -> _Shard | None:
        """The shard that would go on for longest, if splitting it pays for the work done again."""
        now = self._clock()
        slowest, longest = None, _WORTH_STEALING_SECONDS
        for shard in self._running:
            age = now - shard.claimed
            state = self._state_of(shard) if age > _OLD_ENOUGH_SECONDS else None
            if state is None:
                continue
            left = shard.documents - state.settled_docs
            seconds = left * age / (state.settled_docs + 1)
            if left > self._most_redone and seconds > longest:
                slowest, longest = shard, seconds
        return slowest

    def _state_of(self, shard: _Shard) -> BatchState | None:
        """As last committed; None if a network file system shows half of a commit."""
        found = self._shards.open.try_open(shard.shard_id)
        return found.state if isinstance(found, StoredBatch) else None

    def _tell(self, what: str, shard: _Shard, **details: Any) -> None:
        event = {"t": what, "shard": shard.shard_id, "at": time.time(), **details}
        for listener in self.listeners:
            try:
                listener(event)
            except Exception:
                log.exception("a listener failed", event_type=what)


def _cause(shard: _Shard) -> str:
    """Why a shard ended with documents left."""
    return (shard.lease and shard.lease.error) or "it ended early"
