"""The worker process of a session: ``python -m lesson15.lab.worker TASK``.

The first line on stdin is the BatchSpec as JSON, each later one is a command, a word; events go as
JSON arrays, one a line, to stdout. When stdin closes, the notebook is gone: the batch then stops at
a last checkpoint, ready to resume.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import cast

import orjson

from lesson15.checkpoint.journal import Record
from lesson15.lab.host import EngineHost, Task
from lesson15.lab.spec import BatchSpec
from lesson15.logs import log_to_stderr


def main() -> None:
    """Run the task to its end."""
    log_to_stderr("ERROR")
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not break the stream of events

    def emit(records: list[Record]) -> None:
        try:
            events.write(orjson.dumps(records) + b"\n")
            events.flush()
        except BrokenPipeError:
            pass  # the notebook is gone; stdin tells so too, and the batch is being cancelled

    host = EngineHost(BatchSpec(**orjson.loads(sys.stdin.readline())), emit)
    signal.signal(signal.SIGTERM, lambda *_: host.command("cancel"))
    threading.Thread(target=_obey, args=(host,), daemon=True).start()
    host.run(cast("Task", sys.argv[1]))
    os._exit(0)  # torch's threads need no farewell, and the state is on disk


def _obey(host: EngineHost) -> None:
    for line in sys.stdin:
        host.command(line.strip())
    host.command("cancel")


if __name__ == "__main__":
    main()
