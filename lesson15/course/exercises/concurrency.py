"""Exercises of notebook 01: limits, order and backpressure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from lesson15.course.exercise import Exercise, call


def _check_ideal(mine: Callable[..., Any]) -> str | None:
    for jobs, seconds, workers, wanted in [(60, 0.5, 6, 5.0), (7, 1.0, 3, 3.0), (2, 1.0, 8, 1.0)]:
        found = mine(jobs, seconds, workers)
        if abs(found - wanted) > 1e-9:
            return (
                f"{jobs} jobs of {seconds} s on {workers} workers take {wanted} s, and you give "
                f"{found}: a worker does whole jobs, so the last round may be half empty."
            )
    return None


class _Gauge:
    """Jobs that know how many of them run at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def job(self, number: int, seconds: float = 0.01) -> Callable[[], Any]:
        async def run() -> int:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(seconds)
            self.now -= 1
            return number

        return run


def _check_limit(mine: Callable[..., Any]) -> str | None:
    gauge = _Gauge()
    jobs = [gauge.job(n, 0.03 if n % 3 == 0 else 0.01) for n in range(12)]
    found = call(mine, jobs, 3)
    if gauge.most > 3:
        return f"{gauge.most} jobs ran at once, and the limit was 3."
    if gauge.most < 3:
        return f"Only {gauge.most} ran at once: use the limit of 3."
    if list(found or []) != list(range(12)):
        return f"The results must be in the order of the jobs; you give {found}."
    return None


def _check_pool(mine: Callable[..., Any]) -> str | None:
    read = 0
    ahead = 0
    done: list[int] = []
    done_before_slow = 0

    def source() -> Iterator[int]:
        nonlocal read, ahead
        for number in range(30):
            read += 1
            ahead = max(ahead, read - len(done))
            yield number

    async def work(number: int) -> None:
        nonlocal done_before_slow
        await asyncio.sleep(0.5 if number == 0 else 0.005)
        if number == 0:
            done_before_slow = len(done)
        done.append(number)

    call(mine, source(), work, 3)
    if sorted(done) != list(range(30)):
        return f"Every item must be worked on once; yours were {sorted(done)}."
    if ahead > 7:
        return f"It reads ahead: {ahead} items were taken from the source that nobody had done yet."
    if done_before_slow < 20:
        return (
            f"While one slow item was in work only {done_before_slow} others were done: "
            "the workers must not wait for the slowest of a group."
        )
    return None


EXERCISES = [
    Exercise(
        question="""
        Write `mine(jobs, seconds, workers)`: how long `jobs` jobs of `seconds` seconds each take
        on `workers` workers, if nothing else costs any time.
        """,
        hint="They go in rounds, and half a round takes as long as a whole one: math.ceil.",
        answer="""
        import math

        def mine(jobs, seconds, workers):
            return math.ceil(jobs / workers) * seconds
        """,
        check=_check_ideal,
        wrong={
            "def mine(jobs, seconds, workers): return jobs * seconds / workers": "whole jobs",
            "def mine(jobs, seconds, workers): return jobs * seconds": "whole jobs",
            "def mine(jobs, seconds, workers): return jobs // workers * seconds": "whole jobs",
        },
    ),
    Exercise(
        question="""
        Write `async def mine(jobs, limit)`. `jobs` is a list of async functions without
        arguments. Run them all, at most `limit` at once, and return their results in the order
        of the list.
        """,
        hint="asyncio.Semaphore(limit) around each job, and asyncio.gather, which keeps the order.",
        answer="""
        import asyncio

        async def mine(jobs, limit):
            free = asyncio.Semaphore(limit)

            async def one(job):
                async with free:
                    return await job()

            return await asyncio.gather(*(one(job) for job in jobs))
        """,
        check=_check_limit,
        wrong={
            """
            import asyncio
            async def mine(jobs, limit):
                return await asyncio.gather(*(job() for job in jobs))
            """: "12 jobs ran at once",
            """
            async def mine(jobs, limit):
                return [await job() for job in jobs]
            """: "Only 1",
            """
            import asyncio
            async def mine(jobs, limit):
                free = asyncio.Semaphore(limit)
                async def one(job):
                    async with free:
                        return await job()
                return [await done for done in asyncio.as_completed([one(j) for j in jobs])]
            """: "order",
            """
            import asyncio
            async def mine(jobs, limit):
                async def one(job):
                    async with asyncio.Semaphore(limit):
                        return await job()
                return await asyncio.gather(*(one(job) for job in jobs))
            """: "the limit was 3",
        },
    ),
    Exercise(
        question="""
        Write `async def mine(source, work, workers)`, a bounded pool. `source` is an iterator
        that may be endless in practice: take an item only when a worker is free for it. Each of
        the `workers` workers awaits `work(item)` and then takes the next. Return when all is done.
        """,
        hint="""
        No queue is needed: start `workers` tasks that share the one iterator, each with
        `for item in source: await work(item)`.
        """,
        answer="""
        import asyncio

        async def mine(source, work, workers):
            async def worker():
                for item in source:
                    await work(item)

            await asyncio.gather(*(worker() for _ in range(workers)))
        """,
        check=_check_pool,
        wrong={
            """
            import asyncio
            async def mine(source, work, workers):
                free = asyncio.Semaphore(workers)
                async def one(item):
                    async with free:
                        await work(item)
                await asyncio.gather(*(one(item) for item in source))
            """: "reads ahead",
            """
            import asyncio, itertools
            async def mine(source, work, workers):
                while group := list(itertools.islice(source, workers)):
                    await asyncio.gather(*map(work, group))
            """: "slowest of a group",
            """
            import asyncio
            async def mine(source, work, workers):
                async def worker():
                    for item in list(source)[:10]:
                        await work(item)
                await asyncio.gather(*(worker() for _ in range(workers)))
            """: "worked on once",
        },
    ),
]
