# %% [markdown]
# # 5. Progress and monitoring
#
# **Question.** "How much longer?" What can honestly be said while a batch runs, and what does it
# cost to say it?

# %%
import lesson15
from lesson15 import course
from lesson15.progress import ProgressTracker
from lesson15.settings import Settings

course.prepare()
state = course.work_folder("progress")

# %% [markdown]
# ## An estimate
#
# `ProgressTracker` counts, and estimates what is left from the rate of the last half minute. Its
# clock can be replaced, so that an hour passes at once.

# %%
now = 0.0
tracker = ProgressTracker(1000, "demo", clock=lambda: now)
print("before the first document:", tracker.get_eta())

for number in range(200):  # ten a second
    now += 0.1
    await tracker.update_progress(True, f"doc-{number}")
print(f"after 20 s: {tracker.rate:.1f} a second, {tracker.get_eta()} left")

# %% [markdown]
# ## Predict before you run
#
# Now the documents get heavy: one a second, for a minute. 740 are left then. The average of the
# whole run is 3.25 a second, and would say: 228 s left. What should a good estimate say?

# %%
my_guess = 0

# %%
for number in range(60):
    now += 1.0
    await tracker.update_progress(True, f"heavy-{number}")
print(f"after 80 s: {tracker.rate:.2f} a second, {tracker.get_eta()} left")
print("you guessed", my_guess)
assert tracker.eta_seconds > 600

# %% [markdown]
# The recent past is the better guess. And "unknown" before the first document is the honest one: an
# estimate of *0 s left* or *infinite* would be a lie.

# %% [markdown]
# ## Callbacks
#
# A callback gets a reading after each document. One that raises is left out from then on:
# watching a batch must not stop it.

# %%
readings = []


def watch(info):
    readings.append(info)


def broken(info):
    raise RuntimeError("a bug in the dashboard")


docs = course.make_documents(state / "docs", 30)
processor = lesson15.BatchProcessor(4, state_dir=state, embedder="hashing")
processor.progress_callbacks += [watch, broken]

report = await processor.process_batch([docs], "watched")

for info in readings[::10]:
    eta = "unknown" if info.eta is None else f"{info.eta:.2f} s"
    print(f"{info.progress_percent:5.1f} %  {info.completed} of {info.total}, left: {eta}")
assert report["processed_docs"] == len(readings) == 30

# %% [markdown]
# ## A bar
#
# `tqdm_progress` is such a callback. It draws a bar in a notebook and in a terminal.

# %%
from lesson15.widgets import tqdm_progress

processor = lesson15.BatchProcessor(4, state_dir=state, embedder="hashing")
processor.progress_callbacks.append(tqdm_progress())
report = await processor.process_batch([docs], "with-a-bar")

# %% [markdown]
# ## Events
#
# A count is not enough when something is slow. The engine tells every listener what happens:
# which document began, on which worker, which was settled, how long it took, what was tried
# again. Each kind of event is a class in `lesson15.events`.

# %%
from collections import Counter

from lesson15.events import DocSettled

events = []
processor = lesson15.BatchProcessor(
    4, state_dir=state, embedder="hashing", settings=Settings(retry_delay=0.02)
)
processor.listeners.append(events.append)
await processor.process_batch([course.sample_docs()], "events")

print(Counter(type(event).__name__ for event in events))
verdicts = [event for event in events if isinstance(event, DocSettled)]
for event in sorted(verdicts, key=lambda event: -event.seconds)[:3]:
    print(f"{event.seconds:.3f} s  {event.status:8} {event.doc_id.split('sample_docs/')[-1]}")
assert len(verdicts) == 57

# %% [markdown]
# Most of the slowest are failures, or waited for the first parser process to start. Such a list
# is the first thing to look at when a batch is slow.

# %% [markdown]
# ## Live
#
# The widgets are folds of these events. Press **Start**. While it runs, press **Pause** and look
# at the timeline: the documents in work are finished, and no new one begins.

# %%
from lesson15.lab import BatchSession
from lesson15.widgets import ControlPanel, DocumentGrid, FaultConsole, RatePlot, WorkerTimeline

many = course.make_documents(state / "many", 150)
session = BatchSession([many], "live", state, embedder="hashing", max_concurrent=6)
faults = FaultConsole(session)
faults.levels = {"delay": 0.3}
display(ControlPanel(session), DocumentGrid(session), WorkerTimeline(session), RatePlot(session))

# %%
if session.status == "new":
    session.start()
session.wait_for(lambda: session.view.settled >= 40 or not session.is_active)
if session.status == "running":
    session.pause()
    session.wait_for(lambda: session.status == "paused" and not session.view.count("running"))
    print(session.status, session.view.counts())
    faults.levels = {}
    session.unpause()
session.wait()
print(session.status, session.view.counts())
assert session.view.count("done") == 150

# %% [markdown]
# ## What does watching cost?
#
# Predict: how much slower is a batch of 500 documents with a listener and a callback?

# %%
import time

more = course.make_documents(state / "more", 500)
seconds = {}
for name in ("nobody looks", "watched"):
    processor = lesson15.BatchProcessor(8, 50, state_dir=state, embedder="hashing")
    if name == "watched":
        processor.listeners.append(events.append)
        processor.progress_callbacks.append(readings.append)
    start = time.perf_counter()
    await processor.process_batch([more], f"cost-{name.split()[0]}")
    seconds[name] = time.perf_counter() - start
    print(f"{name:12} {seconds[name]:.2f} s")

# %% [markdown]
# Next to nothing, and mostly noise: the watched one may even be the faster. It would be otherwise
# if each document sent a message to the browser. The widgets send ten times a second at most, and
# only what has changed.

# %% [markdown]
# ## Exercises

# %%
from lesson15.course import open_exercises

question, hint, answer, check = open_exercises("progress")
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
