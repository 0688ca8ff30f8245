# %% [markdown]
# # 9. The instructor console, and a capstone
#
# **Question.** Everything at once: a live batch, faults that come and go, a kill, a restart of
# the kernel. Can you bring it to an end with nothing lost and nothing done twice?
#
# For instructors: this is the page to break things on, in front of the class. For students: it is
# the exam.

# %%
from lesson15 import course
from lesson15.lab import BatchSession
from lesson15.widgets import InstructorConsole, ReplayScrubber

course.prepare()
state = course.work_folder("console", fresh=False)  # kept, so that a restart finds it again
docs = course.make_documents(state / "docs", 400)

# %% [markdown]
# The next cell may be run again at any time. If the batch exists already, after a kill or a
# restart of the kernel, it is taken up from its checkpoint, and **Resume** goes on with it.

# %%
session = BatchSession(
    [docs], "class", state, embedder="hashing", max_concurrent=8, checkpoint_interval=20
)
console = InstructorConsole(session)
if session.status == "new":
    console.faults.levels = {"delay": 0.3}  # slow enough to watch
console

# %% [markdown]
# ## The course of the lesson
#
# 1. Press **Start**. Grey cells turn blue, then green.
# 2. Move **Parse error** to 50 %. Predict first: what share of the documents will fail, with one
#    retry?
# 3. Move it back. Play the scenario *A bad network, then calm*. Predict: how many fail, with
#    three retries?
# 4. Press **Kill -9**. How many green cells turn grey again? Why not all of them, and why not
#    none?
# 5. Restart the kernel (menu *Kernel*), run the two cells above again. What is left?
# 6. Press **Resume**, let it come to its end, and press **Retry failed**.
# 7. Run the check at the end of this page.
#
# The same scenario by program. It is skipped if the batch has begun already.

# %%
if session.status == "new":
    session.start()
    session.wait_for(lambda: session.view.settled >= 40)
    console.faults.levels = {"delay": 0.05, "parse_error": 0.6}
    session.wait_for(lambda: session.view.count("failed") >= 8)
    print("with faults:     ", session.view.counts())
    session.kill()
    print("after the kill:  ", session.view.counts(), "- lost:", session.lost_docs)

# %%
session = BatchSession.attach(state, "class", max_concurrent=8, checkpoint_interval=20)
print("as a new kernel sees it:", session.status, session.view.counts())

# %%
console = InstructorConsole(session)
console.faults.clear()
if session.status in ("killed", "interrupted", "busy", "cancelled", "aborted"):
    session.resume()
session.wait()
print("after the resume:", session.view.counts())

# %%
if session.view.count("failed"):
    session.retry_failed()
    session.wait()
print("after the retry: ", session.view.counts())
verification = session.verify()
print("verify:", verification.faults or "clean")
assert session.status == "finished"
assert session.view.count("done") == 400
assert verification.is_clean

# %% [markdown]
# ## What happened, in order
#
# The journal has all of it. The scrubber plays it back: move the slider, or press **Play**. You
# can see the kill: the run begins anew where the checkpoint was.

# %%
scrubber = ReplayScrubber(state, "class")
scrubber

# %%
from lesson15.events import RunStarted

scrubber.event = scrubber.length // 2
print(scrubber.text)
recording = scrubber.recording
runs = [event for event in recording.events() if isinstance(event, RunStarted)]
print(len(recording), "events;", len(runs), "runs;", len(recording.commits()), "commits")
assert len(runs) >= 2

# %% [markdown]
# ## The capstone
#
# Your own batch, and your own faults. Choose a plan that hurts: several rules, and at least one
# of `disk_full`, `torn_write` or `kill` at a file of the checkpoint. Then bring the batch to its
# end, and have it checked.

# %%
from lesson15.faults import FaultControl, FaultPlan, FaultRule

plan = FaultPlan(
    seed=2024,
    rules=[
        FaultRule(point="parse", kind="parse_error", rate=0.2),
        FaultRule(point="embed", kind="network_timeout", rate=0.2),
        FaultRule(point="rename", kind="kill", documents="checkpoint.json", nth=4),
    ],
)
capstone_state = course.work_folder("capstone")
part = sorted(docs.iterdir())[:80]
control = FaultControl(capstone_state, "capstone")
control.set(plan)

batch = BatchSession(part, "capstone", capstone_state, embedder="hashing", checkpoint_interval=10)
batch.start()
batch.wait()
print("it ended as", batch.status, "with", batch.view.counts())

# %%
attempts = 1
while batch.status != "finished" and attempts < 10:
    if attempts >= 2:
        control.clear()  # "somebody mended the machine"
    batch.resume()
    batch.wait()
    attempts += 1
    print("resumed:", batch.status, batch.view.counts())
control.clear()
if batch.view.count("failed"):
    batch.retry_failed()
    batch.wait()

# %%
counts, verification = batch.view.counts(), batch.verify()
print(counts, verification.faults or "verified")
assert counts["done"] == len(part), "some documents are not done yet"
assert verification.is_clean
print(f"Done: {len(part)} documents, killed and resumed, each in the index exactly once.")

# %% [markdown]
# ## Exercises

# %%
from lesson15.course import open_exercises

question, hint, answer, check = open_exercises("capstone")
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
