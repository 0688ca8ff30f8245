# %% [markdown]
# # 7. A batch service
#
# **Question.** Your colleagues want batches too, from their own programs. How does a request that
# takes an hour fit into a protocol made for answers in a second? And what if the server dies
# meanwhile?

# %%
import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx

from lesson15 import course
from lesson15.children import child_environment

course.prepare()
state = course.work_folder("api").resolve()
docs = course.make_documents(state / "docs", 300).resolve()

# %% [markdown]
# ## A server
#
# `lesson15 serve` is a real server. It takes batches over HTTP, and only from those who have a
# **key**. Here it runs as a process of its own, on a free port of this machine.

# %%
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]

command = [sys.executable, "-m", "lesson15.cli"]
env = child_environment() | {"LESSON15_EMBEDDER": "hashing", "LESSON15_RETRY_DELAY": "0.05"}
service = state / "service"


def start_server():
    """Start the server, and return once it answers."""
    server = subprocess.Popen(
        [*command, "serve", f"--port={port}", f"--state-dir={service}", f"--allow={docs.parent}"],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for _ in range(300):
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz").raise_for_status()
            return server
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError("the server does not answer")


def new_key(user):
    """A key for a user; it is shown once, here."""
    made = subprocess.check_output(
        [*command, "keys", "add", user, f"--state-dir={service}"], env=env
    )
    return made.decode().strip()


keys = {user: new_key(user) for user in ("ada", "bob")}
server = start_server()
ada, bob = (
    httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
    )
    for key in keys.values()
)
print(ada.get("/healthz").json())

# %% [markdown]
# ## Predict before you run
#
# A batch of 300 documents takes some seconds. How long will `POST /batch/process` take to answer?

# %%
my_guess = 0.0

# %%
start = time.perf_counter()
answer = ada.post("/batch/process", json={"doc_paths": [str(docs)], "batch_id": "monday"})
seconds = time.perf_counter() - start
print(f"{seconds:.3f} s (you guessed {my_guess}):", answer.status_code, answer.json())
assert answer.json()["total_files"] == 300

# %% [markdown]
# It answers at once, with a *promise*: the batch is on disk and in a queue. How it goes on is
# asked for afterwards. There are two ways.
#
# **Polling**: ask again and again.

# %%
for _ in range(3):
    print(ada.get("/batch/status/monday").json())
    time.sleep(0.3)

# %% [markdown]
# **Events**: the server tells, over a connection that stays open. Each message is a few lines of
# text, and the stream ends when the batch comes to rest.

# %%
messages = 0
with ada.stream("GET", "/batch/events/monday") as stream:
    for line in stream.iter_lines():
        if line.startswith("data:") and len(line) > 10:
            messages += 1
            last = json.loads(line[5:])
        if line == "event: end":
            break
print(messages, "messages; the last:", last["status"], last["processed_docs"], "done")
assert last["progress_percent"] == 100

# %%
for hit in ada.get("/batch/search/monday", params={"q": "bees and honey", "k": 2}).json()["hits"]:
    print(f"{hit['score']:.2f}  {hit['doc_id'].split('/')[-1]}")

# %% [markdown]
# ## What must not work
#
# Predict the status code of each: no key; Bob looks at Ada's batch; a file outside of the allowed
# folder; the same batch id again; a request that makes no sense.

# %%
attempts = {
    "no key": httpx.get(f"http://127.0.0.1:{port}/batch/active"),
    "Bob looks at Ada's batch": bob.get("/batch/status/monday"),
    "a file outside": ada.post("/batch/process", json={"doc_paths": ["/etc/passwd"]}),
    "the same id again": ada.post(
        "/batch/process", json={"doc_paths": [str(docs)], "batch_id": "monday"}
    ),
    "nonsense": ada.post("/batch/process", json={"doc_paths": 7}),
}
for name, response in attempts.items():
    print(f"{response.status_code}  {name}")
assert all(400 <= response.status_code < 500 for response in attempts.values())

# %% [markdown]
# Bob gets *not found* and not *forbidden*: even that Ada has such a batch is none of his
# business.
#
# ## The server is killed
#
# A second batch is started, and the server gets SIGKILL while it works. What will be known of the
# batch when the server is back?

# %%
ada.post("/batch/process", json={"doc_paths": [str(docs)], "batch_id": "tuesday"})
while ada.get("/batch/status/tuesday").json()["processed_docs"] < 20:
    time.sleep(0.05)
os.killpg(server.pid, signal.SIGKILL)
server.wait()

server = start_server()
back = ada.get("/batch/status/tuesday").json()
print("after the restart:", back)

# %%
while (now := ada.get("/batch/status/tuesday").json())["progress_percent"] < 100:
    time.sleep(0.1)
print("in the end:       ", now)
assert now["processed_docs"] == 300

# %% [markdown]
# The answer to `POST` was given only after the batch was **on disk**. So the new server found it
# in the queue, and went on from its checkpoint, without anybody asking it to. *An answer is a
# promise: make it only when it can be kept.*

# %%
ada.close(), bob.close()
server.terminate()
server.wait()
print("the server has ended")

# %% [markdown]
# ## Exercises

# %%
from lesson15.course import open_exercises

question, hint, answer, check = open_exercises("api")
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
