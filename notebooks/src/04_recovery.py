# %% [markdown]
# # 4. Recovery and retry policies
#
# **Question.** Something failed. Try again? How often, how soon, and when is trying again the
# wrong thing to do?

# %%
import random

import matplotlib.pyplot as plt

import lesson15
from lesson15 import course
from lesson15.recovery import POLICY, ErrorRecoveryManager, classify
from lesson15.settings import Settings

course.prepare()
state = course.work_folder("recovery")

# %% [markdown]
# ## The policy is a table
#
# lesson15 decides by a table, and by nothing else:

# %%
print(f"{'error':18} {'when retries are used up':26} {'retries':8} wait")
for row in POLICY:
    print(f"{row.name:18} {row.action.value:26} {row.retries:<8} {row.wait.value}")

# %% [markdown]
# ## Predict before you run
#
# Which row does each of these belong to? Two of them surprise most people.

# %%
from lesson15.errors import EmptyDocumentError

errors = [
    TimeoutError("the model did not answer"),
    FileNotFoundError("report.pdf"),
    MemoryError(),
    OSError(28, "No space left on device"),
    PermissionError(13, "Permission denied", "report.pdf"),
    EmptyDocumentError(path="empty.txt"),
    ZeroDivisionError("a bug in a parser"),
]
my_guess = {}

# %%
for error in errors:
    print(f"{type(error).__name__:20} -> {classify(error).name}")
assert classify(errors[3]).name == "system error"
assert classify(errors[6]).name == "parse error"

# %% [markdown]
# - A full disk is nobody's document's fault. To go on would fail for each of the others as well:
#   **abort**.
# - A bug in a parser shows with one document. It is set aside, **by name**, and the rest goes on.
# - A document that may not be read is like one that cannot be parsed. (A *checkpoint* that may
#   not be written is another matter: the engine raises `CheckpointWriteError` for that, and
#   aborts.)

# %% [markdown]
# ## Watch the waits
#
# `ErrorRecoveryManager` can be used alone. Here it is given a sleep that only notes how long it
# would have slept.

# %%
slept = []


async def note(seconds):
    slept.append(seconds)


async def always(error):
    raise error


for error in (
    TimeoutError("network"),
    MemoryError(),
    EmptyDocumentError(path="x"),
    OSError(28, "full"),
):
    slept.clear()
    manager = ErrorRecoveryManager(max_retries=3, retry_delay=1.0, sleep=note)
    try:
        await manager.execute_with_retry(always, error)
    except Exception:
        waits = ", ".join(f"{seconds:.1f} s" for seconds in slept) or "none"
        print(f"{classify(error).name:16} attempts: {len(slept) + 1}, waits: {waits}")

# %% [markdown]
# - Network: the waits double, so that a server that is down is not hammered.
# - Memory: they grow evenly, and the engine works on fewer documents at once meanwhile.
# - Parse error: one retry, for the rare case that a file was just being written.
#
# The network waits are not 1, 2, 4 exactly. Something random is added. Why?

# %% [markdown]
# ## A hundred clients
#
# A server that can take 20 calls at once goes down for a moment; a hundred clients fail at the
# same instant, and each tries again by the same rule. Predict: what does the server see without
# jitter?


# %%
def arrivals(wait, clients=100, capacity=20, seed=15):
    """The times of all calls until all clients got through; the server takes `capacity` at once."""
    rng = random.Random(seed)
    waiting = [(0.0, 1)] * clients
    calls = []
    while waiting:
        waiting.sort()
        step = waiting[0][0]
        now = [entry for entry in waiting if entry[0] < step + 0.1]
        waiting = waiting[len(now) :]
        calls += [time for time, _ in now]
        for time, attempt in now[capacity:]:
            waiting.append((time + wait(attempt, rng), attempt + 1))
    return calls


same = arrivals(lambda attempt, rng: 2.0 ** (attempt - 1))
jitter = arrivals(lambda attempt, rng: rng.uniform(0, 2.0**attempt))

figure, axes = plt.subplots(2, 1, figsize=(7, 4), sharex=True, sharey=True)
for axis, calls, title in zip(axes, (same, jitter), ("without jitter", "with jitter")):
    axis.hist(calls, bins=[n / 4 for n in range(80)])
    axis.set_title(title, fontsize=10)
    axis.axhline(20, color="grey", linestyle="--")
axes[1].set(xlabel="seconds", ylabel="calls")
figure.tight_layout()
plt.show()
print(len(same), "calls without jitter,", len(jitter), "with it")
assert len(jitter) < len(same)

# %% [markdown]
# Without jitter all come back together, again and again: a *retry storm*. With jitter they
# spread, and fewer calls are needed.

# %% [markdown]
# ## In the engine
#
# Half of all calls to the model time out. Predict how many of 40 documents fail with 0, 1 and 3
# retries.

# %%
from lesson15.faults import FaultPlan, FaultRule

docs = course.make_documents(state / "docs", 40)
timeouts = FaultPlan(seed=15, rules=[FaultRule(point="embed", kind="network_timeout", rate=0.5)])
failed = {}
for retries in (0, 1, 3):
    report = lesson15.run(
        [docs],
        f"retries-{retries}",
        state_dir=state,
        embedder="hashing",
        faults=timeouts,
        settings=Settings(max_retries=retries, retry_delay=0.02),
    )
    failed[retries] = report["failed_docs"]
    expected = 40 * 0.5 ** (retries + 1)
    print(f"{retries} retries: {failed[retries]} of 40 failed; by the odds {expected:.1f}")
assert failed[0] > failed[3]

# %% [markdown]
# Each retry halves what is left. (The numbers differ a little from the odds: 40 documents are
# few, and chance has its say.) Three retries cost little here, because failures are
# *independent*. If the server were down for an hour, all 40 would fail after all three.

# %% [markdown]
# ## When memory runs short
#
# Out of memory is retried, too, but with *less at once*. Watch the timeline: the number of bars
# one above the other shrinks while the fault lasts, and grows again afterwards, by one for each
# full round.

# %%
from lesson15.lab import BatchSession
from lesson15.widgets import ControlPanel, FaultConsole, WorkerTimeline

many = course.make_documents(state / "many", 120)
session = BatchSession([many], "memory", state, embedder="hashing", max_concurrent=8)
console = FaultConsole(session)
console.levels = {"delay": 0.4}
display(ControlPanel(session), console, WorkerTimeline(session))

# %%
if session.status == "new":
    session.start()
session.wait_for(lambda: session.view.settled >= 30 or not session.is_active)
if session.is_active:
    console.levels = {"delay": 0.05, "out_of_memory": 0.5}
    session.wait_for(lambda: session.view.settled >= 50 or not session.is_active)
    console.levels = {}
session.wait()
print(session.status, session.view.counts())
assert session.status == "finished"

# %% [markdown]
# ## The dead-letter list
#
# What failed is not forgotten. It is a list that can be looked at, mended and tried again.

# %%
report = lesson15.run(
    [course.sample_docs()],
    "dead-letters",
    state_dir=state,
    embedder="hashing",
    settings=Settings(retry_delay=0.02),
)
print(len(report["failures"]), "on the list; the first:")
print(report["failures"][0]["error"].split("sample_docs/")[-1])

# %% [markdown]
# `lesson15 retry-failed` works on this list alone. Here nothing was mended, so nothing is won. In
# notebook 3 the cause went away, and all were saved.

# %%
from lesson15 import BatchProcessor

again = await BatchProcessor(state_dir=state, settings=Settings(retry_delay=0.02)).retry_failed(
    "dead-letters"
)
assert again["failed_docs"] == report["failed_docs"] == 7
print(again["failed_docs"], "still fail")

# %% [markdown]
# ## Exercises

# %%
from lesson15.course import open_exercises

question, hint, answer, check = open_exercises("recovery")
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
