"""BatchSession: one batch, driven from a notebook without ever blocking a cell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

import orjson

from lesson15.checkpoint.journal import Record
from lesson15.checkpoint.layout import is_locked
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.engine.processor import new_batch_id
from lesson15.errors import BatchNotFoundError, SessionError
from lesson15.events import decode
from lesson15.lab.environment import environment
from lesson15.lab.host import EngineHost, Task
from lesson15.lab.spec import BatchSpec
from lesson15.lab.view import BatchView
from lesson15.logs import get_logger
from lesson15.models import BatchState, BatchStatus

if TYPE_CHECKING:
    from lesson15.engine.verify import Verification

Mode = Literal["process", "thread"]
log = get_logger(__name__)
_ACTIVE = ("starting", "running", "paused")
_STOPPED = ("finished", "cancelled", "killed", "aborted", "interrupted")
_sessions: WeakValueDictionary[tuple[str, str], BatchSession] = WeakValueDictionary()
_LOCK_PATIENCE_SECONDS = 10.0


class BatchSession:
    """A batch that runs beside the notebook; every method but the ``wait`` ones returns at once.

    A batch that exists already is taken up as it stands: :meth:`resume` goes on with it. So a
    cell that makes a session may be run again, after a restart of the kernel or at any time; a
    session of this process that is still at work on the batch is cancelled first.

    Args:
        paths: files, or folders to scan.
        batch_id: a fresh one by default.
        state_dir: folder of all batches' state.
        mode: "process" runs the engine in a worker process, which can be killed for real;
            "thread" runs it on a loop in a thread of this process.
        options: ``max_concurrent``, ``checkpoint_interval``, ``embedder``, ``store`` and
            ``retry_delay`` (seconds), as the engine has them.

    ``status`` is "new", "starting", "running", "paused", "finished", "cancelled", "killed",
    "aborted" (``error`` says why) or "interrupted" (found so on disk).

    Example:
        >>> session = BatchSession(["data/sample_docs"], "monday", embedder="hashing")
        >>> session.start()
        >>> session.wait()["processed_docs"]
        50
    """

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        batch_id: str | None = None,
        state_dir: Path | str = "checkpoints",
        *,
        mode: Mode = "process",
        **options: Any,
    ) -> None:
        if isinstance(paths, str | os.PathLike):
            paths = [paths]
        self.spec = BatchSpec(
            batch_id or new_batch_id(), os.fspath(state_dir), [os.fspath(p) for p in paths],
            **options,
        )  # fmt: skip
        key = os.path.abspath(state_dir), self.batch_id  # noqa: PTH100 - links are left as they are
        earlier = _sessions.get(key)
        if earlier is not None and earlier.is_active:
            earlier.cancel()
            earlier.wait()
        _sessions[key] = self
        self.mode = mode
        self.report: dict[str, Any] | None = None
        self.error: str | None = None
        self.progress: Record = {}
        self.lost_docs = 0
        self.on_change: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes]
        self._host: EngineHost | None = None
        self._thread: threading.Thread | None = None
        self.status = "new"
        if self.spec.exists:
            self.spec = self.spec.from_manifest()
            self.status = self._status_on_disk()
        self.view = BatchView(self.spec.doc_ids())
        if self.spec.exists:
            self.view.return_to_commit(self.spec.state_dir, self.batch_id)

    @classmethod
    def attach(
        cls, state_dir: Path | str, batch_id: str, *, mode: Mode = "process", **options: Any
    ) -> BatchSession:
        """A session on a batch that exists, on the documents that it was made with.

        Raises:
            BatchNotFoundError: it does not exist.
        """
        if not BatchSpec(batch_id, os.fspath(state_dir), []).exists:
            raise BatchNotFoundError(batch_id=batch_id, state_dir=state_dir)
        return cls([], batch_id, state_dir, mode=mode, **options)

    # --- looking ------------------------------------------------------------------------------

    @property
    def batch_id(self) -> str:
        """The batch."""
        return self.spec.batch_id

    @property
    def is_active(self) -> bool:
        """Whether the engine works on the batch, or is paused on it, for this session."""
        return self.status in _ACTIVE

    @property
    def pid(self) -> int | None:
        """The worker process, while there is one."""
        return self._process.pid if self._process and self.is_active else None

    def checkpoint(self) -> BatchState | None:
        """The last durable state; None before there is one."""
        manager = CheckpointManager(self.spec.state_dir)
        return manager.load_checkpoint(self.batch_id) if self.spec.exists else None

    def verify(self) -> Verification:
        """Check the batch from the ground up, as ``lesson15 verify`` does."""
        from lesson15.engine.verify import verify

        return verify(self.batch_id, self.spec.state_dir)

    def _status_on_disk(self) -> str:
        manager = CheckpointManager(self.spec.state_dir)
        status = manager.load_checkpoint(self.batch_id).status
        is_open = status in (BatchStatus.RUNNING, BatchStatus.PAUSED)
        return "interrupted" if is_open else status.value

    # --- controls -----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a new batch."""
        self._require("start", ("new",))
        self._launch("run")

    def pause(self) -> None:
        """Take no further document; those in work are finished."""
        self._require("pause", ("starting", "running"))
        self._command("pause")

    def resume(self) -> None:
        """Go on: after a pause, or from the last checkpoint after anything else."""
        if self.status == "paused":
            self._command("unpause")
        else:
            self._require("resume", _STOPPED)
            self._launch("resume")

    def retry_failed(self) -> None:
        """Work on the dead-letter list again."""
        self._require("retry the failed documents", _STOPPED)
        self._launch("retry")

    def cancel(self) -> None:
        """Stop after a last checkpoint."""
        self._require("cancel", _ACTIVE)
        self._command("cancel")

    def kill(self) -> None:
        """SIGKILL the worker process: no warning, no last checkpoint."""
        self._require("kill", _ACTIVE)
        if self._process is None or self._thread is None:
            raise SessionError(
                action="kill", batch_id=self.batch_id, status=f"{self.status} in a thread",
                allowed="a process: make the session with mode='process'",
            )  # fmt: skip
        self._process.kill()
        self._thread.join(10)

    def _require(self, action: str, allowed: tuple[str, ...]) -> None:
        if self.status not in allowed:
            raise SessionError(
                action=action, batch_id=self.batch_id, status=self.status,
                allowed=" or ".join(allowed),
            )  # fmt: skip

    def _command(self, name: str) -> None:
        if self._host is not None:
            self._host.command(name)
        elif self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError, ValueError):  # it ended this very instant
                self._process.stdin.write(name.encode() + b"\n")
                self._process.stdin.flush()

    # --- waiting ------------------------------------------------------------------------------

    def wait(self, timeout: float = 60.0) -> dict[str, Any]:
        """Block until the run is over and return its report ({} if it was killed).

        Raises:
            TimeoutError: it was not over in ``timeout`` seconds.
        """
        self.wait_for(lambda: not self.is_active, timeout)
        return self.report or {}

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60.0) -> None:
        """Block until ``condition()`` holds; it is asked after every change.

        Raises:
            TimeoutError: it did not hold within ``timeout`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(
                    f"{timeout} s went by; the batch is {self.status}, {self.view.counts()}"
                )

    # --- running ------------------------------------------------------------------------------

    def _launch(self, task: Task) -> None:
        if self._thread is not None:
            self._thread.join()  # it has told the end, and may still be closing its pipes
        self._wait_for_lock()
        if self.spec.exists:  # it may have moved on since this session looked at it
            self.view.return_to_commit(self.spec.state_dir, self.batch_id)
        self.report = self.error = None
        self.progress = {}
        self.lost_docs = 0
        self._process = self._host = None
        if self.mode == "process":
            self._process = process = self._spawn(task)
            run = partial(self._follow, process)
        else:
            self._host = EngineHost(self.spec, self._take)
            run = partial(self._host.run, task)
        self._set_status("starting")
        self._thread = threading.Thread(target=run, daemon=True, name="lesson15-lab")
        self._thread.start()

    def _spawn(self, task: Task) -> subprocess.Popen[bytes]:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the reader
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", "lesson15.lab.worker", task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment(),
            start_new_session=True,  # interrupting the kernel must not interrupt the batch
        )
        assert process.stdin is not None  # noqa: S101 - a pipe
        process.stdin.write(orjson.dumps(asdict(self.spec)) + b"\n")
        process.stdin.flush()
        return process

    def _wait_for_lock(self) -> None:
        """A worker of a kernel that was restarted may still be at its last checkpoint."""
        folder = CheckpointManager(self.spec.state_dir).folder(self.batch_id)
        deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
        while is_locked(folder) and time.monotonic() < deadline:
            time.sleep(0.05)

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 - a pipe
        for line in process.stdout:
            if line.endswith(b"\n"):  # a killed worker may leave half a line
                self._take(orjson.loads(line))
        code = process.wait()
        with suppress(BrokenPipeError), process:  # closes the pipes
            pass
        with self._stderr as file:
            if not self.is_active:
                return
            if code == -signal.SIGKILL:
                self._end("killed", None)
                return
            file.seek(0)
            tail = file.read()[-2000:].decode(errors="replace").strip()
            self._end("aborted", f"the worker exited with status {code}: {tail}")

    def _take(self, records: list[Record]) -> None:
        over = None
        for record in records:
            if record["t"] == "over":
                over = record
            elif record["t"] == "progress":
                self.progress = record
            elif record["t"] == "status":
                self._set_status(record["status"])
            else:
                self.view.fold(decode(record))
        if over is not None:
            self.report = over.get("report")
            self._end(over["status"], over.get("error"))
        elif self.status == "starting":
            self._set_status("running")
        else:
            self._tell()

    def _end(self, status: str, error: str | None) -> None:
        self.error = error
        if self.spec.exists:
            self.lost_docs = max(0, self.view.return_to_commit(self.spec.state_dir, self.batch_id))
        self._set_status(status)

    def _set_status(self, status: str) -> None:
        self.status = status
        self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
        for callback in list(self.on_change):
            try:
                callback()
            except Exception:
                log.exception("a callback failed and was removed", batch_id=self.batch_id)
                self.on_change.remove(callback)
