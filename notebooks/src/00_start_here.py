# %% [markdown]
# # 0. Start here
#
# **Question.** You have a folder of documents and want to search it by meaning. What is a
# *batch*, and what comes out of one?
#
# This notebook checks that your machine is ready, runs a first batch and looks at what it left
# behind. It takes about ten minutes.
#
# Each notebook of the course goes the same way: a question, a guess of yours, the experiment,
# what was seen and why, and three exercises with automatic checks.

# %%
from lesson15 import course

course.prepare()
state = course.work_folder("start")
docs = course.sample_docs()
print(sum(path.is_file() for path in docs.rglob("*")), "documents in", docs.name)

# %% [markdown]
# ## Is everything there?
#
# The same check as `lesson15 doctor` in a terminal: packages, the weights of the embedding model,
# and whether state can be written.

# %%
from lesson15.doctor import examine

checks = examine(state)
for check in checks:
    print("ok  " if check["ok"] else "FAIL", check["name"], "-", check["detail"])
assert all(check["ok"] for check in checks), "mend what says FAIL before you go on"

# %% [markdown]
# ## Predict before you run
#
# The folder holds text, HTML, PDF, Word, CSV and JSON files, some in Chinese, and a subfolder
# named `bad` with seven files that are empty, encrypted, cut short and worse.
#
# - Will the batch stop at the first bad file?
# - How many documents will be *done*, and how many *failed*?
#
# Write your guess down. Then run the next cell.

# %%
my_guess = {"done": 0, "failed": 0}

# %% [markdown]
# ## Run
#
# `lesson15.run` does a whole batch and returns a report. The embedder `hashing` is a fast
# stand-in for the real model: it compares words, not meaning. Notebook 6 uses the real one.

# %%
import lesson15
from lesson15.settings import Settings

report = lesson15.run(
    [docs],
    "first",
    state_dir=state,
    embedder="hashing",
    settings=Settings(retry_delay=0.05),
)
{name: value for name, value in report.items() if name != "failures"}

# %%
print("you guessed", my_guess)
for failure in report["failures"]:
    print(f"- {failure['error'].replace(str(docs), '')}  (attempts: {failure['attempts']})")

# %%
assert report["status"] == "finished"
assert report["processed_docs"] == 50
assert report["failed_docs"] == 7

# %% [markdown]
# ## What you saw
#
# - The batch *finished*, although seven documents failed. One bad document harms only itself.
# - Each failure names the file, the reason and the remedy. Together they are the **dead-letter
#   list**.
# - A document that failed to parse was tried twice: the policy allows one retry (notebook 4).
#
# Now look at what lies on disk.

# %%
for path in sorted((state / "first").iterdir()):
    print(f"{path.name:18} {path.stat().st_size:>9,} bytes")

# %% [markdown]
# - `journal.log` says what happened, one line for each document. It is only ever appended to.
# - `segment.bin` holds the vectors and texts. It is only ever appended to.
# - `checkpoint.json` says how many bytes of these two *count*. It is small, and replaced as a
#   whole.
# - `catalog.sqlite` and `index.*` are derived: they could be made again from the others.
#
# Notebook 2 shows why it is built this way.

# %%
print((state / "first" / "checkpoint.json").read_text())

# %% [markdown]
# ## Search, and check
#
# `verify` reads everything again: each checksum, and that each document is in the index exactly
# once.

# %%
searcher = lesson15.Searcher("first", state)
for hit in searcher.search("recovery of a database", k=3):
    print(f"{hit.score:.2f}  {hit.doc_id.split('sample_docs/')[-1]}")
searcher.close()

verification = lesson15.verify("first", state)
assert verification.is_clean
print(verification.documents, "documents,", verification.chunks, "chunks, no fault found")

# %% [markdown]
# ## Run it again?
#
# What will happen if you give the same batch id again? And if you *resume* a finished batch?

# %%
from lesson15.errors import BatchExistsError

try:
    lesson15.run([docs], "first", state_dir=state, embedder="hashing")
except BatchExistsError as error:
    print("BatchExistsError:", error)

# %%
again = lesson15.run([docs], "first", resume=True, state_dir=state)
print(again["processed_docs"], "done, and nothing was done twice")
assert lesson15.verify("first", state).is_clean

# %% [markdown]
# ## Watch one live
#
# The engine can also run beside the notebook. The cell returns at once; press **Start** and
# watch. Without a mouse (or when all cells are run at once) the cell after it starts the batch.

# %%
from lesson15.lab import BatchSession
from lesson15.widgets import ControlPanel, DocumentGrid

session = BatchSession([docs], "live", state, embedder="hashing")
display(ControlPanel(session), DocumentGrid(session))

# %%
if session.status == "new":
    session.start()
live = session.wait()
assert live["processed_docs"] == report["processed_docs"]
print(session.status, session.view.counts())

# %% [markdown]
# ## Exercises
#
# `question(n)` shows a question, `hint(n)` helps, `answer(n)` gives it away, and `check(n, mine)`
# looks at your answer. Replace `None` by your own code.

# %%
from lesson15.course import open_exercises

question, hint, answer, check = open_exercises("start")
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
