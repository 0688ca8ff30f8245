# %% [markdown]
# # 2. Checkpointing
#
# **Question.** A batch runs for hours and is killed: a crash, a power cut, an impatient
# colleague. What is lost, and what would it take to lose nothing that was saved?
#
# Here a naive checkpoint and a safe one stand side by side, and both are killed for real:
# SIGKILL, no warning, no clean-up.

# %%
import json
import os
import random
import signal
import subprocess
import sys
import time

from lesson15 import course

course.prepare()
state = course.work_folder("checkpointing")

# %% [markdown]
# ## A naive checkpoint
#
# Every 50 documents the whole state is written to one file. Plain, readable, and how most scripts
# begin.

# %%
naive = """
import json, sys

path, done = sys.argv[1], {}
for number in range(1_000_000):
    done[f"document-{number}"] = "what was made of it " * 20
    if number % 50 == 0:
        with open(path, "w") as file:
            json.dump(done, file)
        print(number + 1, flush=True)
"""
_ = (state / "naive.py").write_text(naive)

# %% [markdown]
# And a safe one. The only difference is how the file is written: a temporary file beside it,
# `fsync`, and a rename, which the file system does as a whole or not at all.

# %%
safe = naive.replace(
    """        with open(path, "w") as file:
            json.dump(done, file)
""",
    """        with open(path + ".tmp", "w") as file:
            json.dump(done, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".tmp", path)
""",
).replace("import json, sys", "import json, os, sys")
assert safe.count("os.replace") == 1
_ = (state / "safe.py").write_text(safe)

# %% [markdown]
# ## Predict before you run
#
# Each program is started 8 times and killed at a random moment after it has saved something. How
# many times out of 8 can its checkpoint be read afterwards?

# %%
my_guess = {"naive": 0, "safe": 0}

# %% [markdown]
# ## Run


# %%
def kill_one(name, number):
    """Start a program, kill it at some moment, and say what its checkpoint is worth."""
    path = state / f"{name}-{number}.json"
    process = subprocess.Popen(
        [sys.executable, state / f"{name}.py", path], stdout=subprocess.PIPE, text=True
    )
    saved = 0
    for line in process.stdout:  # the number of documents that it says are saved
        saved = int(line)
        if saved > 1500:
            break
    time.sleep(random.uniform(0, 0.1))
    os.kill(process.pid, signal.SIGKILL)
    saved = max([saved, *map(int, process.stdout.read().split())])
    process.wait()
    process.stdout.close()
    try:
        kept = len(json.loads(path.read_text()))
    except json.JSONDecodeError:
        kept = 0
    return saved, kept


results = {name: [kill_one(name, n) for n in range(8)] for name in ("naive", "safe")}
for name, runs in results.items():
    print(name)
    for saved, kept in runs:
        print(f"   said that {saved} were saved; after the kill {kept} can be read")

# %%
ruined = {name: sum(kept < saved for saved, kept in runs) for name, runs in results.items()}
print(f"naive: {ruined['naive']} of 8 lost everything; safe: {ruined['safe']} of 8")
assert ruined["naive"] >= 1
assert ruined["safe"] == 0

# %% [markdown]
# ## What you saw
#
# `open(path, "w")` empties the file *first*. From then until the last byte is written there is
# neither the old state nor the new one. A program that saves often spends most of its time in
# that gap, so a kill mostly hits it. And it loses not the last document but **all** of them.
#
# The safe one never has a gap: until the rename the old file is whole, after it the new one. It
# loses only what it had done since the last save.
#
# `fsync` matters for a power cut, which a kill is not. Without it the rename may reach the disk
# before the bytes do.

# %% [markdown]
# ## The price of safety
#
# Both programs have another fault: each save writes *everything* again. Ten times the documents
# cost a hundred times the time. Predict: how does the time of one save grow here?

# %%
import matplotlib.pyplot as plt


def milliseconds(save, file_name, mode):
    """The shortest of three times that ``save`` takes on a file."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        with open(state / file_name, mode) as file:
            save(file)
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


sizes = [500, 1000, 2000, 4000, 8000]
whole, appended = [], []
for size in sizes:
    done = {f"document-{n}": "what was made of it " * 20 for n in range(size)}
    new = dict(list(done.items())[-50:])
    whole.append(milliseconds(lambda file: json.dump(done, file), "whole.json", "w"))
    appended.append(milliseconds(lambda file: json.dump(new, file), "journal.log", "a"))

figure, axes = plt.subplots(figsize=(7, 3))
axes.plot(sizes, whole, "o-", label="the whole state again")
axes.plot(sizes, appended, "o-", label="the 50 new documents appended")
axes.set(xlabel="documents done", ylabel="milliseconds for one save", ylim=0)
axes.legend()
plt.show()
print(f"{len(json.dumps(done)):,} bytes against {len(json.dumps(new)):,}")
assert len(json.dumps(done)) > 100 * len(json.dumps(new))

# %% [markdown]
# So lesson15 **appends** to a journal and a segment, and its checkpoint is a small file that says
# how many bytes of them count. A save costs what is new, however much is done already. After a
# crash the bytes beyond the checkpoint are cut off.

# %% [markdown]
# ## A real kill of the real engine
#
# A session runs the engine in a worker process. Each document takes 0.3 s here, so that you have
# time to kill it. Predict: 60 documents, a checkpoint every 10. It is killed once at least 25 are
# done. How many are in the checkpoint? How many must be done again?

# %%
from lesson15.faults import FaultControl, FaultPlan, FaultRule
from lesson15.lab import BatchSession
from lesson15.widgets import CheckpointInspector, ControlPanel, DocumentGrid

docs = course.make_documents(state / "docs", 60)
slow = FaultPlan(rules=[FaultRule(point="result", kind="delay", seconds=0.3)])
FaultControl(state, "killed").set(slow)
session = BatchSession([docs], "killed", state, checkpoint_interval=10, embedder="hashing")
display(ControlPanel(session), DocumentGrid(session), CheckpointInspector(session))

# %% [markdown]
# Press **Start**, then **Kill -9**, then **Resume**, and watch the cells. Or let the next cells
# do it.

# %%
if session.status == "new":
    session.start()
session.wait_for(lambda: session.view.settled >= 25 or not session.is_active)
seen = session.view.settled
if session.is_active:
    session.kill()
print(
    f"{session.status}: {seen} were done, {session.checkpoint().settled_docs} are in the checkpoint"
)

# %%
if session.status == "killed":
    session.resume()
report = session.wait()
verification = session.verify()
print(
    report["processed_docs"], "of", report["total_docs"], "done;", verification.faults or "verified"
)
assert report["processed_docs"] == 60
assert verification.is_clean

# %% [markdown]
# `verify` found each document in the index **exactly once**, although some were worked on twice:
# what the killed process had done after its last checkpoint was cut off and done again.
#
# A kernel restart is no worse than a kill. Try it: run the two cells above up to the kill,
# restart the kernel (Kernel menu), and then in a new cell:
#
#     from lesson15.lab import BatchSession
#     session = BatchSession.attach("work/checkpointing", "killed")
#     session.resume()

# %% [markdown]
# ## How often?
#
# A checkpoint costs time, and so does doing work again. Measure the first: 100 documents without
# any delay.

# %%
import lesson15

many = course.make_documents(state / "many", 100)
for interval in (1, 10, 100):
    outcome = lesson15.run(
        [many],
        f"every-{interval}",
        state_dir=state,
        embedder="hashing",
        checkpoint_interval=interval,
    )
    print(f"a checkpoint every {interval:3}: {outcome['seconds']:.2f} s")
    assert outcome["processed_docs"] == 100

# %% [markdown]
# The last notebook has a formula for the best interval.
#
# ## Exercises

# %%
from lesson15.course import open_exercises

question, hint, answer, check = open_exercises("checkpointing")
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
