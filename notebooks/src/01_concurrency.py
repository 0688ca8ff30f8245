# %% [markdown]
# # 1. Concurrency
#
# **Question.** Most of a document's time is spent waiting: for a disk, a server, a model. How
# many documents should be in work at once, and how is that written so that a million documents do
# not fill the memory?
#
# You need no knowledge of asyncio. A function with `async def` can be *paused* where it says
# `await`, and while it waits another one runs. All of them share one thread.

# %%
import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt

from lesson15 import course

course.prepare()

JOBS = 40
SECONDS = 0.02  # what a "document" waits

# %% [markdown]
# ## Predict before you run
#
# 40 documents that each wait 0.02 s. How long does it take
#
# 1. one after the other,
# 2. with 8 threads,
# 3. with asyncio, all at once,
# 4. with asyncio, at most 8 at once?

# %%
my_guess = {"sequential": 0.0, "8 threads": 0.0, "all at once": 0.0, "at most 8": 0.0}

# %% [markdown]
# ## Run
#
# One after the other:

# %%
took = {}

start = time.perf_counter()
for _ in range(JOBS):
    time.sleep(SECONDS)
took["sequential"] = time.perf_counter() - start
print(f"{took['sequential']:.2f} s")

# %% [markdown]
# With threads. Each thread waits by itself, so eight wait at the same time.

# %%
start = time.perf_counter()
with ThreadPoolExecutor(8) as pool:
    list(pool.map(time.sleep, [SECONDS] * JOBS))
took["8 threads"] = time.perf_counter() - start
print(f"{took['8 threads']:.2f} s")

# %% [markdown]
# With asyncio. `asyncio.sleep` is a wait that lets others run; `gather` starts all of them and
# waits for the last. In a notebook `await` may stand in a cell.


# %%
async def document(number):
    await asyncio.sleep(SECONDS)
    return number


start = time.perf_counter()
await asyncio.gather(*(document(n) for n in range(JOBS)))
took["all at once"] = time.perf_counter() - start
print(f"{took['all at once']:.2f} s")

# %% [markdown]
# All at once is the fastest, and what a real server on the other side would not forgive. A
# **semaphore** lets at most 8 through:

# %%
free = asyncio.Semaphore(8)


async def polite(number):
    async with free:
        return await document(number)


start = time.perf_counter()
await asyncio.gather(*(polite(n) for n in range(JOBS)))
took["at most 8"] = time.perf_counter() - start

for name, seconds in took.items():
    print(f"{name:12} {seconds:6.2f} s   (you guessed {my_guess[name]})")
assert took["at most 8"] < took["sequential"]

# %% [markdown]
# ## A trap: work that does not wait
#
# `time.sleep` inside `async def` does not let others run. Neither does parsing a PDF. What
# happens to eight of them, "at once"?


# %%
async def blocking():
    time.sleep(SECONDS)


start = time.perf_counter()
await asyncio.gather(*(blocking() for _ in range(8)))
blocked = time.perf_counter() - start

start = time.perf_counter()
await asyncio.gather(*(asyncio.to_thread(time.sleep, SECONDS) for _ in range(8)))
off_the_loop = time.perf_counter() - start

print(f"on the loop {blocked:.2f} s, off the loop {off_the_loop:.2f} s")
assert blocked >= 8 * SECONDS

# %% [markdown]
# Blocking work stops the *whole* loop: all eight took turns. lesson15 parses in separate
# processes and embeds in a thread of its own, so that the loop is always free for the rest.

# %% [markdown]
# ## How many at once?
#
# Predict the shape of the curve before you run: time against the number of workers, for 40
# documents. Where does it stop falling?

# %%
workers = [1, 2, 3, 4, 6, 8, 10, 14, 20, 30, 40]
measured = []
for limit in workers:
    free = asyncio.Semaphore(limit)
    start = time.perf_counter()
    await asyncio.gather(*(polite(n) for n in range(JOBS)))
    measured.append(time.perf_counter() - start)

figure, axes = plt.subplots(figsize=(7, 3))
axes.plot(workers, measured, "o-", label="measured")
axes.plot(workers, [-(-JOBS // n) * SECONDS for n in workers], "k--", label="whole rounds")
axes.set(xlabel="documents at once", ylabel="seconds", ylim=0)
axes.legend()
plt.show()

# %% [markdown]
# The first workers bring almost everything: from 1 to 8 the time falls to an eighth, from 8 to 40
# only a little more. The steps are *rounds*: 14 workers need three rounds for 40 documents, and
# so do 19.
#
# This is a wait that costs nothing. With real work there is an optimum, because memory and the
# processor fill up. So lesson15 adapts: its limit is halved under pressure and creeps up again,
# as TCP does it.

# %% [markdown]
# ## A million documents
#
# A semaphore limits what *runs*. What about what is merely *there*? Count the tasks.


# %%
async def count_tasks(make):
    """The greatest number of tasks while ``make()`` runs."""
    most = 0

    async def watch():
        nonlocal most
        while True:
            most = max(most, len(asyncio.all_tasks()))
            await asyncio.sleep(0.001)

    watcher = asyncio.create_task(watch())
    before = len(asyncio.all_tasks())
    await make()
    watcher.cancel()
    return most - before


async def with_semaphore(total):
    free = asyncio.Semaphore(8)

    async def one():
        async with free:
            await asyncio.sleep(0.0005)

    await asyncio.gather(*(one() for _ in range(total)))


async def with_pool(total):
    source = iter(range(total))

    async def worker():
        for _ in source:
            await asyncio.sleep(0.0005)

    await asyncio.gather(*(worker() for _ in range(8)))


TOTAL = 2000
semaphore_tasks = await count_tasks(lambda: with_semaphore(TOTAL))
pool_tasks = await count_tasks(lambda: with_pool(TOTAL))
print(f"semaphore: {semaphore_tasks} tasks alive; bounded pool: {pool_tasks}")
assert semaphore_tasks > TOTAL / 2
assert pool_tasks < 20

# %% [markdown]
# Both take the same time. But with the semaphore every document has a task from the start, and a
# million tasks are gigabytes. The **bounded pool** has eight workers that share one iterator: a
# document is read from the source only when a worker is free for it. This is called
# **backpressure**.
#
# The engine of lesson15 is such a pool: see `_run_worker` in `lesson15/engine/run.py`.

# %% [markdown]
# ## The real engine
#
# The same curve with the real engine: 24 documents, and each waits 0.1 s more, as if for an
# answer from a server. (The delay is an injected fault; notebook 3 is about those.)

# %%
import lesson15
from lesson15.faults import FaultPlan, FaultRule

state = course.work_folder("concurrency")
docs = course.make_documents(state / "docs", 24)
slow = FaultPlan(rules=[FaultRule(point="result", kind="delay", seconds=0.1)])

times = {}
for limit in (1, 4, 12):
    report = await lesson15.BatchProcessor(
        limit, 12, state_dir=state, embedder="hashing", faults=slow
    ).process_batch([docs], f"with-{limit}")
    times[limit] = report["seconds"]
    print(f"{limit:3} at once: {report['seconds']:.2f} s, {report['processed_docs']} done")

assert times[12] < times[1]

# %% [markdown]
# ## Exercises

# %%
from lesson15.course import open_exercises

question, hint, answer, check = open_exercises("concurrency")
question(1)

# %%
mine = None
check(1, mine)

# %%
question(2)

# %%
mine = None
check(2, mine)

# %%
question(3)

# %%
mine = None
check(3, mine)
