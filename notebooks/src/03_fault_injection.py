# %% [markdown]
# # 3. Fault injection
#
# **Question.** How do you know that your error handling works, if errors are rare and never come
# when you look?
#
# You cause them, on purpose, and so that they can be repeated.

# %%
import lesson15
from lesson15 import course
from lesson15.faults import FaultPlan, FaultPoint, FaultRule
from lesson15.settings import Settings

course.prepare()
state = course.work_folder("faults")
docs = course.make_documents(state / "docs", 40)
quick = Settings(retry_delay=0.01)

# %% [markdown]
# ## Points and plans
#
# The engine has named **fault points**: the steps at which something can go wrong.

# %%
print([point.value for point in FaultPoint])

# %% [markdown]
# A **plan** is a seed and some rules. A rule says what happens (the *kind*) at which point, to
# which documents, and how often. Without a plan nothing of this is even loaded.

# %%
plan = FaultPlan(seed=15, rules=[FaultRule(point="parse", kind="parse_error", rate=0.3)])
print(plan.to_json())

# %% [markdown]
# ## Predict before you run
#
# 40 documents, and each attempt to parse one fails with a probability of 0.3. The policy for
# parse errors is: one retry, then the dead-letter list.
#
# How many documents will end there? (Careful: it takes *two* failures.)

# %%
my_guess = 0


# %%
def run(batch_id, faults, **options):
    """A batch under a plan; the names of those that failed."""
    report = lesson15.run(
        [docs],
        batch_id,
        state_dir=state,
        embedder="hashing",
        settings=quick,
        faults=faults,
        **options,
    )
    failed = sorted(failure["doc_id"].split("/")[-1] for failure in report["failures"])
    return report, failed


report, failed = run("first", plan)
print(f"{len(failed)} failed (you guessed {my_guess}):", failed)
assert 0 < len(failed) < 15

# %% [markdown]
# 0.3 x 0.3 = 0.09, and 9 % of 40 is 3.6. A single retry takes a failure rate of 30 % down to 9 %.
# That is the whole idea of retries, and it holds only if failures are *independent*. A broken
# file fails the second time as surely as the first.

# %% [markdown]
# ## The same again?
#
# Which documents fail when the batch is run again? With another number of workers? With another
# seed?

# %%
_, again = run("again", plan)
_, other_workers = run("other-workers", plan, max_concurrent=1)
_, other_seed = run("other-seed", FaultPlan(seed=16, rules=plan.rules))

print("again:        ", again)
print("one worker:   ", other_workers)
print("another seed: ", other_seed)
assert failed == again == other_workers

# %% [markdown]
# The same documents, whatever the order of the work. No random generator is shared; whether a
# fault strikes is computed from the seed, the rule, the document and the number of the attempt.
# So a run that went wrong can be repeated on another machine, and given to a colleague.

# %% [markdown]
# ## One kind of fault at a time
#
# Predict for each kind: does the document fail, is it skipped, is it saved by a retry, or does
# the whole batch stop?

# %%
from lesson15.errors import StorageError

kinds = [
    ("read", "file_not_found", "*"),
    ("parse", "parse_error", "*"),
    ("parse", "kill", "*"),
    ("embed", "network_timeout", "*"),
    ("embed", "out_of_memory", "*"),
    ("checkpoint_write", "disk_full", "journal.log"),
]
outcomes = {}
for point, kind, which in kinds:
    rule = FaultRule(
        point=point, kind=kind, times=3, documents=which
    )  # three strikes, then all is well
    try:
        report, _ = run(f"only-{kind}", FaultPlan(rules=[rule]))
        outcomes[kind] = (report["processed_docs"], report["failed_docs"], report["skipped_docs"])
        done, failed_docs, skipped = outcomes[kind]
        print(f"{kind:16} done {done}, failed {failed_docs}, skipped {skipped}")
    except StorageError as error:
        outcomes[kind] = "aborted"
        print(f"{kind:16} the batch stopped: {str(error).split('(')[-1].split(')')[0]}")

assert outcomes["file_not_found"][2] == 3
assert outcomes["network_timeout"][0] == 40
assert outcomes["disk_full"] == "aborted"

# %% [markdown]
# - A file that is not there is **skipped**: no retry brings it back.
# - Three timeouts were **saved** by retries, and so were three parse errors: one retry was
#   enough.
# - Even three killed parser processes harmed nobody: parsing has processes of its own, and a new
#   one took the document up again.
# - A full disk **stops** the batch. To go on would mean to forget what was done. The checkpoint
#   stays:

# %%
resumed = lesson15.run([docs], "only-disk_full", resume=True, state_dir=state, settings=quick)
print(resumed["status"], resumed["processed_docs"], "done")
assert resumed["processed_docs"] == 40
assert lesson15.verify("only-disk_full", state).is_clean

# %% [markdown]
# ## While it runs
#
# A plan can be changed while a batch runs, from another thread or another process. The console
# below has a slider for each kind. Press **Start**, move *Parse error* up, and watch the cells.
#
# *Slow documents* is set so that there is time to play.

# %%
from lesson15.lab import BatchSession
from lesson15.widgets import ControlPanel, DocumentGrid, FaultConsole, RatePlot

many = course.make_documents(state / "many", 300)
session = BatchSession([many], "live", state, embedder="hashing", max_concurrent=8)
console = FaultConsole(session)
console.levels = {"delay": 0.3}
display(ControlPanel(session), DocumentGrid(session), console, RatePlot(session))

# %% [markdown]
# The same by program, for when all cells are run at once:

# %%
if session.status == "new":
    session.start()
session.wait_for(lambda: session.view.settled >= 30 or not session.is_active)
print("before:", session.view.counts())
if session.is_active:
    console.levels = {"delay": 0.02, "parse_error": 0.9}  # the slider is moved
    session.wait_for(lambda: session.view.count("failed") >= 10 or not session.is_active)
    print("during:", session.view.counts(), dict(session.view.errors))
    console.clear()

# %%
session.wait()
print("after: ", session.view.counts())
print("fired: ", console.control.fired)
assert session.view.count("failed") > 0
assert session.verify().is_clean

# %% [markdown]
# The failures stop when the slider goes back. Those that failed are on the dead-letter list; now
# that all is well they can be tried again:

# %%
session.retry_failed()
report = session.wait()
print(report["processed_docs"], "done,", report["failed_docs"], "failed")
assert report["failed_docs"] == 0

# %% [markdown]
# ## Exercises

# %%
from lesson15.course import open_exercises

question, hint, answer, check = open_exercises("faults")
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
