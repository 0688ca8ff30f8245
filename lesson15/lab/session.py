"""BatchSession: one batch, driven from a notebook without ever blocking a cell."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

from lesson15.checkpoint.layout import new_batch_id
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.errors import BatchNotFoundError, SessionError
from lesson15.events import Paused, RunOpened, Unpaused
from lesson15.host.child import EngineHost
from lesson15.host.handle import HostProcess
from lesson15.host.protocol import Ended, LogLine, Message, Progress
from lesson15.host.states import ALLOWED, Command, State
from lesson15.lab.spec import BatchSpec
from lesson15.lab.view import BatchView
from lesson15.logs import get_logger
from lesson15.models import BatchState, BatchStatus

if TYPE_CHECKING:
    from lesson15.engine.verify import Verification

Mode = Literal["process", "thread"]
log = get_logger(__name__)
_started: WeakValueDictionary[tuple[str, str], BatchSession] = WeakValueDictionary()
"""By state folder and batch id: the session of this process that worked on the batch last."""


class BatchSession:
    """A batch that runs beside the notebook; every method but the ``wait`` ones returns at once.

    A batch that exists already is taken up as it stands: :meth:`resume` goes on with it. So a
    cell that makes a session may be run again, after a restart of the kernel or at any time.
    When the new session starts to work, one of this process that is still at work on the batch is
    cancelled first; a process that a kernel left behind is waited for.

    Args:
        paths: files, or folders to scan.
        batch_id: a fresh one by default.
        state_dir: folder of all batches' state.
        mode: "process" runs the engine in a worker process, which can be killed for real;
            "thread" runs it on a loop in a thread of this process.
        options: ``max_concurrent``, ``checkpoint_interval``, ``embedder``, ``store`` and
            ``retry_delay`` (seconds), as the engine has them.

    ``status`` is "new", "starting", "running", "paused", "finished", "cancelled", "killed",
    "aborted" (``error`` says why), "interrupted" (its last run was, as the disk says) or "busy"
    (somebody else is at work on it).

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
        self.mode = mode
        self.report: dict[str, Any] | None = None
        self.error: str | None = None
        self.progress: Progress | None = None
        self.lost_docs = 0
        self.on_change: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._host: HostProcess | EngineHost | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.status = State.NEW
        batch = self._stored()
        if batch is not None:
            self.spec = self.spec.of_batch(batch.manifest)
            self.status = _state_of(batch)
        self.view = BatchView(self.spec.doc_ids(batch.manifest.base_dir if batch else None))
        if batch is not None:
            batch.use(self.view.return_to_commit)

    @classmethod
    def attach(
        cls, state_dir: Path | str, batch_id: str, *, mode: Mode = "process", **options: Any
    ) -> BatchSession:
        """A session on a batch that exists, on the documents that it was made with.

        Raises:
            BatchNotFoundError: it does not exist.
        """
        session = cls([], batch_id, state_dir, mode=mode, **options)
        if session.status is State.NEW:
            raise BatchNotFoundError(batch_id=batch_id, state_dir=state_dir)
        return session

    # --- looking ------------------------------------------------------------------------------

    @property
    def batch_id(self) -> str:
        """The batch."""
        return self.spec.batch_id

    @property
    def is_active(self) -> bool:
        """Whether the engine works on the batch, or is paused on it, for this session."""
        return self.status.is_active

    @property
    def pid(self) -> int | None:
        """The worker process, while there is one."""
        host = self._host
        return host.pid if isinstance(host, HostProcess) and self.is_active else None

    def checkpoint(self) -> BatchState | None:
        """The last durable state; None before there is one."""
        batch = self._stored()
        return batch.state if batch is not None else None

    def verify(self) -> Verification:
        """Check the batch from the ground up, as ``lesson15 verify`` does."""
        from lesson15.engine.verify import verify

        return verify(self.batch_id, self.spec.state_dir)

    def _stored(self) -> StoredBatch | None:
        """The batch on disk, None before there is one."""
        try:
            return CheckpointManager(self.spec.state_dir, makes_folder=False).open(self.batch_id)
        except BatchNotFoundError:
            return None

    # --- controls -----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a new batch."""
        self._require(Command.START)
        self._launch(self.spec.paths)

    def pause(self) -> None:
        """Take no further document; those in work are finished.

        The session is "paused" as soon as that is on disk.
        """
        self._require(Command.PAUSE)
        self._command(Command.PAUSE)

    def unpause(self) -> None:
        """Go on after a pause."""
        self._require(Command.UNPAUSE)
        self._command(Command.UNPAUSE)

    def resume(self) -> None:
        """Go on from the last checkpoint; a paused session is unpaused."""
        self._require(Command.RESUME)
        if self.status is State.PAUSED:
            self.unpause()
        else:
            self._launch(None)

    def retry_failed(self) -> None:
        """Work on the dead-letter list again."""
        self._require(Command.RETRY_FAILED)
        self._launch(None, is_retry=True)

    def cancel(self) -> None:
        """Stop after a last checkpoint."""
        self._require(Command.CANCEL)
        self._command(Command.CANCEL)

    def kill(self) -> None:
        """SIGKILL the worker process: no warning, no last checkpoint."""
        self._require(Command.KILL)
        if not isinstance(self._host, HostProcess) or self._thread is None:
            raise SessionError(
                action="kill", batch_id=self.batch_id, status=f"{self.status} in a thread",
                allowed="a process: make the session with mode='process'",
            )  # fmt: skip
        self._call(self._host.kill)
        self._thread.join(10)

    def _require(self, command: Command) -> None:
        if command not in ALLOWED[self.status]:
            raise SessionError(
                action=command.value.replace("_", " "), batch_id=self.batch_id, status=self.status,
                allowed=" or ".join(state for state in State if command in ALLOWED[state]),
            )  # fmt: skip

    def _command(self, command: Command) -> None:
        if self._host is not None:
            self._call(self._host.command, command)

    def _call(self, func: Callable[..., None], *args: object) -> None:
        """Call ``func`` on the loop of the host."""
        with suppress(RuntimeError):  # it ended this very instant
            if self._loop is not None:
                self._loop.call_soon_threadsafe(func, *args)

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

    def _launch(self, paths: list[str] | None, *, is_retry: bool = False) -> None:
        if self._thread is not None:
            self._thread.join()  # it has told the end, and has next to nothing left to do
        key = os.path.abspath(self.spec.state_dir), self.batch_id  # noqa: PTH100 - links are left as they are
        earlier, _started[key] = _started.get(key), self
        self.report = self.error = self.progress = None
        self.lost_docs = 0
        request = self.spec.request(paths, is_retry=is_retry)
        kind = HostProcess if self.mode == "process" else EngineHost
        self._host = kind(request, self._hear)
        self._loop = asyncio.new_event_loop()
        self._set_state(State.STARTING)
        self._thread = threading.Thread(
            target=self._run, args=(self._host, self._loop, earlier), daemon=True,
            name="lesson15-lab",
        )  # fmt: skip
        self._thread.start()

    def _run(
        self,
        host: HostProcess | EngineHost,
        loop: asyncio.AbstractEventLoop,
        earlier: BatchSession | None,
    ) -> None:
        """See a run to its end, in a thread of its own."""
        try:
            if earlier is not None and earlier is not self and earlier.is_active:
                with suppress(SessionError):  # it ended this very instant
                    earlier.cancel()
                earlier.wait()
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                end = runner.run(host.run())
        except Exception as error:
            log.exception("a session failed", batch_id=self.batch_id)
            end = Ended(State.ABORTED, f"{type(error).__name__}: {error}")
        self.report, self.error = end.report, end.error
        if end.stderr:
            self.error = f"{end.error} {end.stderr}"
        if self.spec.exists:
            self.lost_docs = max(0, self._return_to_commit())
        self._set_state(end.state)

    def _hear(self, messages: list[Message]) -> None:
        for message in messages:
            match message:
                case Progress():
                    self.progress = message
                case RunOpened():
                    self._return_to_commit()  # others may have worked on it meanwhile
                    self.status = State.RUNNING
                case Paused():
                    self.status = State.PAUSED
                case Unpaused():
                    self.status = State.RUNNING
                case LogLine() | Ended():
                    pass
                case event:
                    self.view.fold(event)
        self._tell()

    def _return_to_commit(self) -> int:
        batch = self._stored()
        return batch.use(self.view.return_to_commit) if batch is not None else 0

    def _set_state(self, state: State) -> None:
        self.status = state
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


def _state_of(batch: StoredBatch) -> State:
    if batch.is_live:
        return State.BUSY
    status = batch.state.status
    is_open = status in (BatchStatus.RUNNING, BatchStatus.PAUSED)
    return State.INTERRUPTED if is_open else State(status.value)
