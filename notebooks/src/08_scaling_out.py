# %% [markdown]
# # 8. Scaling out
#
# **Question.** One process is busy. Do two processes do twice as much? And what do you have to
# give up?
#
# This notebook first spreads one folder over several worker **processes on this machine**, by
# hand, to see the two hard parts: cutting the work up and putting the results together. At the end
# lesson15 does it by itself, with a queue that workers on other **machines** could reach as well.

# %%
import os
import time
import zlib

import matplotlib.pyplot as plt

import lesson15
from lesson15 import course
from lesson15.lab import BatchSession

course.prepare()
state = course.work_folder("scaling")
docs = course.make_documents(state / "docs", 160)
paths = sorted(docs.iterdir())
print(len(paths), "documents,", os.cpu_count(), "processors")

# %% [markdown]
# ## Cut it up
#
# Each document goes to one **shard**. The rule must give the same answer in every process, today
# and after a restart; so it is computed from the name.


# %%
def shard_of(path, shards):
    return zlib.crc32(path.name.encode()) % shards


for shards in (2, 4):
    sizes = [sum(shard_of(path, shards) == n for path in paths) for n in range(shards)]
    print(f"{shards} shards: {sizes}")
    assert sum(sizes) == len(paths)

# %% [markdown]
# `hash()` would not do: Python salts it anew for each process. See for yourself:

# %%
import subprocess
import sys

program = "print(hash('doc-1.txt') % 4)"
for _ in range(3):
    print(subprocess.check_output([sys.executable, "-c", program], text=True).strip())

# %% [markdown]
# ## Predict before you run
#
# Each document costs 0.1 s of *waiting* here (as if a remote model embedded it), four at a time
# in each process, and some real work. How long do 1, 2 and 4 worker processes take? Starting a
# process costs about a second.

# %%
my_guess = {1: 0.0, 2: 0.0, 4: 0.0}

# %%
from lesson15.faults import FaultControl, FaultPlan, FaultRule

waiting = FaultPlan(rules=[FaultRule(point="result", kind="delay", seconds=0.1)])


def run_shards(shards, plan):
    """One batch for each shard, all at the same time; the sessions and the seconds."""
    sessions = []
    for number in range(shards):
        batch_id = f"{shards}-shards-{'waiting' if plan.rules else 'working'}-{number}"
        FaultControl(state, batch_id).set(plan)
        part = [path for path in paths if shard_of(path, shards) == number]
        sessions.append(BatchSession(part, batch_id, state, embedder="hashing"))
    start = time.perf_counter()
    for session in sessions:
        session.start()
    for session in sessions:
        session.wait()
    return sessions, time.perf_counter() - start


took = {}
for shards in (1, 2, 4):
    sessions, took[shards] = run_shards(shards, waiting)
    assert sum(session.report["processed_docs"] for session in sessions) == len(paths)
    print(f"{shards} processes: {took[shards]:.1f} s (you guessed {my_guess[shards]})")

# %% [markdown]
# Waiting can be spread over any number of processes. The time falls, but not to a quarter:
# starting four processes costs time too, and they share the processors while they start. (More
# workers in *one* process would have been cheaper: notebook 1.) Now without the waiting, so that
# the processors are what there is too little of:

# %%
worked = {}
for shards in (1, 2, 4):
    sessions, worked[shards] = run_shards(shards, FaultPlan())
    print(f"{shards} processes: {worked[shards]:.1f} s")

figure, axes = plt.subplots(figsize=(7, 3))
axes.plot(list(took), [took[1] / took[n] for n in took], "o-", label="mostly waiting")
axes.plot(list(worked), [worked[1] / worked[n] for n in worked], "o-", label="mostly working")
axes.plot([1, 4], [1, 4], "k--", linewidth=1, label="ideal")
axes.set(xlabel="processes", ylabel="times as fast", xticks=[1, 2, 4], ylim=0)
axes.legend()
plt.show()

# %% [markdown]
# With work in place of waiting there is little or nothing to win, and it may even be slower: each
# process starts its own interpreter and parsers, and the processors were busy before. **Measure
# before you scale out**: find out what the time goes to.

# %% [markdown]
# ## Put it together
#
# Each shard has an index of its own. A search asks all of them and merges the hits by score.


# %%
def search_all(batch_ids, text, k=5):
    hits = []
    for batch_id in batch_ids:
        searcher = lesson15.Searcher(batch_id, state)
        hits += searcher.search(text, k)
        searcher.close()
    return sorted(hits, key=lambda hit: -hit.score)[:k]


one = search_all(["1-shards-working-0"], "bees and honey")
four = search_all([f"4-shards-working-{n}" for n in range(4)], "bees and honey")
for left, right in zip(one, four):
    names = [hit.doc_id.split("/")[-1] for hit in (left, right)]
    print(f"{left.score:.4f} {names[0]:14} {right.score:.4f} {names[1]}")
assert [round(hit.score, 4) for hit in one] == [round(hit.score, 4) for hit in four]

# %% [markdown]
# The same scores as from one index. (Documents with equal scores may change places.)
#
# ## One shard dies
#
# What does a crash cost now? Kill one of four, and look at the others.

# %%
for number in range(4):
    FaultControl(state, f"crash-{number}").set(waiting)
sessions = [
    BatchSession(
        [path for path in paths if shard_of(path, 4) == number],
        f"crash-{number}",
        state,
        embedder="hashing",
    )
    for number in range(4)
]
for session in sessions:
    session.start()
sessions[0].wait_for(lambda: sessions[0].view.settled >= 15)
sessions[0].kill()
for session in sessions[1:]:
    session.wait()
print([session.status for session in sessions])
assert sessions[0].status == "killed"
assert all(session.status == "finished" for session in sessions[1:])

# %%
sessions[0].resume()
sessions[0].wait()
done = sum(session.view.count("done") for session in sessions)
print(done, "documents done; all shards verified:", all(s.verify().is_clean for s in sessions))
assert done == len(paths)

# %% [markdown]
# Only the killed shard had to resume, from its own checkpoint. That is the second gain of shards,
# and often the greater one: a fault concerns a part.
#
# ## What is given up
#
# - **A total order.** Each shard has its own journal; "what happened first" across shards is not
#   on record.
# - **One report.** Somebody has to add up.
# - **Freedom to change the number of shards.** With 5 in place of 4 most documents change their
#   shard.
#
# ## Beyond one machine
#
# So far this notebook dealt out the work and added up by hand. `lesson15 run --distributed` does
# both: it cuts the batch into many shards, workers on any machine take them from a queue (Celery,
# on Redis or RabbitMQ), and what they commit is merged into one normal batch. Files on shared
# storage say what is true; the queue only says that there is work.
#
# Here broker, workers and coordinator are on one machine. It needs `redis-server` (Debian's package
# of that name). Predict: one of two workers is killed in the midst of a shard. Who notices, and how
# much is done twice?

# %%
import shutil
import signal
import socket
import threading

from lesson15.distributed import DistributedProcessor
from lesson15.settings import Settings

has_redis = shutil.which("redis-server") is not None
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
broker = f"redis://127.0.0.1:{port}/0"
started = []


def start(*command):
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
    started.append(process)
    return process


if has_redis:
    start("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "")
    worker = [sys.executable, "-m", "lesson15.cli", "worker"]
    options = ["--broker", broker, "--state-dir", str(state)]
    workers = [start(*worker, *options) for _ in range(2)]
print("two workers wait" if has_redis else "no redis-server here: the next cells do nothing")

# %% [markdown]
# A lease of 3 seconds: a worker that gives no sign of life for so long loses its shard. (10 seconds
# is the default.)

# %%
if has_redis:
    processor = DistributedProcessor(
        broker, 4, 5, state_dir=state, embedder="hashing", settings=Settings(lease_seconds=3)
    )

    def kill_one():
        while not list(state.glob("distributed/**/lease.json")):
            time.sleep(0.05)  # until a worker has a shard
        os.killpg(workers[0].pid, signal.SIGKILL)  # with the process that works for it

    threading.Thread(target=kill_one).start()
    report = await processor.process_batch(paths, "distributed")
    print(report["processed_docs"], "of", report["total_docs"], "done in", report["seconds"], "s")
    assert report["processed_docs"] == len(paths)
    assert workers[0].wait() == -9

# %%
if has_redis:
    verification = lesson15.verify("distributed", state)
    print(verification.documents, "documents, each once:", verification.is_clean)
    assert verification.is_clean
    for process in started:
        process.terminate()
        process.wait()

# %% [markdown]
# Nobody told the coordinator of the death. The lease of the dead worker stopped changing; so its
# shard was closed, what it had committed was merged, and the rest went to the other worker. Closing
# is a rename of the shard's folder: had the worker only been slow, its next commit would have found
# no folder. That is called *fencing*, and it is why nothing is double.
#
# ## Exercises

# %%
from lesson15.course import open_exercises

question, hint, answer, check = open_exercises("scaling")
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
