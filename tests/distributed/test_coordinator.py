"""The coordinator's decisions, with workers that die, hang, come back and are idle on demand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lesson15.distributed.shards import Lease
from lesson15.engine.verify import verify
from lesson15.errors import BrokerUnavailableError, ShardFailedError
from lesson15.models import BatchStatus
from tests.crash import oracle
from tests.distributed.conftest import TASK, Site


def assert_is_whole(site: Site) -> None:
    site.finish(BatchStatus.FINISHED, 1.0)
    result = verify("b", site.state)
    assert result.is_clean, result.faults
    assert oracle.indexed(site.state, "b") == oracle.sequential(site.docs, "hashing")


def test_a_batch_without_trouble(site: Site) -> None:
    site.run_to_end()
    assert_is_whole(site)
    assert site.closed() == ["ended"] * 12
    assert not list(site.shards.closed.checkpoint_dir.iterdir())


def test_a_few_tasks_wait_in_the_queue_and_no_more(site: Site) -> None:
    site.coordinator.step()
    assert len(site.queue.tasks) == 8
    site.work_on_next()
    site.coordinator.step()
    assert len(site.queue.tasks) == 8


def test_tasks_too_many_find_nothing_to_do(site: Site) -> None:
    site.coordinator.step()
    site.queue.tasks *= 3
    site.run_to_end()
    assert_is_whole(site)
    site.worker.work_on(TASK)  # a late one: the batch is done
    assert site.closed() == ["ended"] * 12


def test_what_was_taken_over_goes_first(site: Site) -> None:
    site.coordinator.step()
    documents = site.next_documents()
    site.begin_next(0)
    site.coordinator.step()
    assert site.next_documents() != documents
    site.clock += 11
    site.coordinator.step()
    assert site.next_documents() == documents


def test_what_the_broker_forgot_is_published_again(site: Site) -> None:
    site.coordinator.step()
    site.queue.tasks.clear()
    site.clock += 4
    site.coordinator.step()
    assert not site.queue.tasks
    site.clock += 4
    site.coordinator.step()
    assert len(site.queue.tasks) == 8
    site.run_to_end()
    assert_is_whole(site)


def test_tasks_that_wait_in_the_queue_are_not_published_again(site: Site) -> None:
    site.coordinator.step()
    for _ in range(10):
        site.clock += 10
        site.coordinator.step()
    assert len(site.queue.tasks) == 8


def test_a_silent_worker_loses_its_shard_but_not_what_it_committed(make_big_site: Site) -> None:
    site = make_big_site
    site.coordinator.step()
    shard = site.begin_next(3)
    site.coordinator.step()
    site.clock += 9
    site.coordinator.step()
    assert site.closed() == []
    site.clock += 2
    site.coordinator.step()
    (closed,) = [event for event in site.events if event["t"] == "closed"]
    assert (closed["shard"], closed["reason"], closed["owner"]) == (shard, "lapsed", "dead")
    assert len(closed["into"]) == 1
    site.run_to_end()
    assert_is_whole(site)


def test_signs_of_life_keep_a_shard(site: Site) -> None:
    site.coordinator.step()
    shard = site.begin_next(0, owner="slow")
    for beat in range(5):
        site.shards.renew(shard, Lease("slow", beat))
        site.coordinator.step()
        site.clock += 8
    assert site.closed() == []


def test_a_document_that_kills_its_workers_is_found_and_set_aside(site: Site) -> None:
    """Every worker that gets d7 dies; its shard is halved until it is alone, then given up."""
    site.close_merge()
    site.open(shards=1)
    poison = "d7.txt"
    for _ in range(300):
        if site.coordinator.step():
            break
        while site.queue.tasks:
            if any(doc_id.endswith(poison) for doc_id in site.next_documents()):
                site.begin_next(0)
            else:
                site.work_on_next()
        site.clock += 6
    report = site.finish(BatchStatus.FINISHED, 1.0)
    assert verify("b", site.state).is_clean
    assert (report.processed_docs, report.failed_docs) == (9, 3)
    (error,) = [f.error for f in report.failures if f.doc_id.endswith(poison)]
    assert "5 workers in a row died" in error


def test_an_idle_worker_steals_half_of_what_is_left(make_big_site: Site) -> None:
    site = make_big_site
    site.coordinator.step()
    slow = site.begin_next(2, owner="slow")
    beat = 0
    while "stolen" not in site.closed():
        beat += 1
        assert beat < 20, site.events
        if site.shards.is_open(slow):
            site.shards.renew(slow, Lease("slow", beat))
        site.coordinator.step()
        while site.queue.tasks:
            site.work_on_next()  # the offer is taken: this worker is idle
        site.clock += 1
    (stolen,) = [event for event in site.events if event.get("reason") == "stolen"]
    assert stolen["shard"] == slow
    assert len(stolen["into"]) == 2
    with pytest.raises(FileNotFoundError):
        site.shards.renew(slow, Lease("slow", beat + 1))
    site.run_to_end()
    assert_is_whole(site)


def test_nothing_is_stolen_while_no_worker_is_idle(make_big_site: Site) -> None:
    site = make_big_site
    site.coordinator.step()
    slow = site.begin_next(2, owner="slow")
    for beat in range(20):
        site.shards.renew(slow, Lease("slow", beat))
        site.coordinator.step()
        site.clock += 1
    assert len(site.queue.tasks) == 1, "one offer waits"
    assert site.shards.is_open(slow)


def test_a_broker_that_is_away_is_waited_for_but_not_for_ever(site: Site) -> None:
    site.coordinator.step()
    site.work_on_next()
    site.queue.is_away = True
    for _ in range(3):
        site.coordinator.step()
        site.clock += 10
    assert site.closed() == ["ended"], "what workers do goes on"
    site.queue.is_away = False
    site.coordinator.step()
    site.queue.is_away = True
    site.clock += 40
    site.work_on_next()
    site.coordinator.step()
    site.clock += 61
    with pytest.raises(BrokerUnavailableError):
        site.coordinator.step()


def test_that_there_is_no_worker_is_told_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(10):
        site.coordinator.step()
        site.clock += 10
    (told,) = [record for record in caplog.records if "no worker takes" in record.message]
    assert told.levelname == "ERROR"


def test_a_shard_that_fails_everywhere_ends_the_batch(site: Site) -> None:
    def fail() -> None:
        shard_id = site.claim_next("pid 1 on broken")
        ended = Lease("pid 1 on broken", has_ended=True, error="no model here")
        site.shards.renew(shard_id, ended)

    for _ in range(2):
        site.coordinator.step()
        fail()
    site.coordinator.step()
    fail()
    with pytest.raises(ShardFailedError, match=r"pid 1 on broken.*no model here"):
        site.coordinator.step()


def test_a_new_coordinator_takes_over_what_the_last_one_left(site: Site) -> None:
    site.coordinator.step()
    site.work_on_next()
    site.work_on_next()
    site.begin_next(1)
    site.close_merge()
    site.open()
    site.coordinator.take_over_leftovers()
    assert site.merge.state.settled_docs == 3
    assert not site.next_documents()
    site.run_to_end()
    assert_is_whole(site)


def test_stopped_and_gone_on_with(site: Site) -> None:
    site.coordinator.step()
    site.work_on_next()
    shard = site.begin_next(1)
    site.coordinator.step()
    site.coordinator.stop()
    assert not site.shards.is_open(shard)
    assert site.merge.state.settled_docs == 2
    site.finish(BatchStatus.CANCELLED, 1.0)
    site.close_merge()
    site.open()
    site.coordinator.take_over_leftovers()
    site.run_to_end()
    assert_is_whole(site)


@pytest.fixture
def make_big_site(make_site: Callable[[], Site]) -> Site:
    """One shard, long enough to be worth stealing from."""
    site = make_site()
    for number in range(60):
        (site.docs / f"more{number}.txt").write_text(f"More of {number}. " * 20, encoding="utf-8")
    site.close_merge()
    site.open(shards=1)
    return site
