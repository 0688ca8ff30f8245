"""Which batches run: a queue in the order of submission, with limits, that survives the server.

The job's state in the database is what its user wants; a worker that ends later than a pause or a
cancellation does not change it back. All of this runs on the server's event loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import Any, Literal

import orjson
from pydantic import SecretStr

from lesson15.api.broadcast import Channel
from lesson15.api.folders import AllowedRoots, UserFolder
from lesson15.api.jobs import Job, JobKey, JobKind, JobState, JobStore
from lesson15.api.settings import ServiceSettings
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.errors import BatchStateError, OwnBatchNotFoundError, TooManyRequestsError
from lesson15.events import DocSettled
from lesson15.host.handle import HostProcess
from lesson15.host.protocol import Ended, LogLine, Message, Progress, Request
from lesson15.host.states import ALLOWED, Command, State
from lesson15.logs import get_logger
from lesson15.monitoring.metrics import Metrics
from lesson15.notifications import BatchEnded, notify
from lesson15.settings import Settings

log = get_logger(__name__)
_NOTICE_SECONDS = 5.0
_STOP_SECONDS = 10.0
_PARTICIPLES = {
    Command.PAUSE: "paused", Command.UNPAUSE: "unpaused", Command.CANCEL: "cancelled",
    Command.RESUME: "resumed", Command.RETRY_FAILED: "retried",
}  # fmt: skip
MAX_WORKERS_PER_JOB = 3
"""How often a batch is begun again after its worker died, before it counts as aborted."""


class Supervisor:
    """Runs the jobs of all users, at most so many at once."""

    def __init__(
        self, settings: ServiceSettings, engine: Settings, jobs: JobStore, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._jobs = jobs
        self._metrics = metrics
        self._queue: dict[JobKey, Job] = {}
        self._runs: dict[JobKey, asyncio.Task[None]] = {}
        self._hosts: dict[JobKey, HostProcess] = {}
        self._progress: dict[JobKey, Progress] = {}
        self._channels: dict[JobKey, Channel] = {}
        self._writing = asyncio.Lock()
        self._notices: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    # --- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Go on with what the last server left unfinished, and tell what it had no time to tell."""
        for job in await asyncio.to_thread(self._jobs.unnotified):
            self._notify(job)
        for job in await asyncio.to_thread(self._jobs.unfinished):
            log.info("going on with a batch", user=job.user, batch_id=job.batch_id)
            await self._enqueue(job)

    async def stop(self) -> None:
        """End every worker after a last commit; the next :meth:`start` goes on with its batch."""
        self._is_stopping = True
        runs, hosts = list(self._runs.values()), list(self._hosts.values())
        for host in hosts:
            host.command(Command.CANCEL)
        if runs:
            await asyncio.wait(runs, timeout=_STOP_SECONDS)
        for host in hosts:
            host.kill()
        await asyncio.gather(*runs, return_exceptions=True)
        for channel in self._channels.values():
            channel.close()
        if self._notices:
            await asyncio.wait(self._notices, timeout=_NOTICE_SECONDS)

    # --- what users ask for -------------------------------------------------------------------

    async def submit(self, job: Job) -> None:
        """Accept a new batch; it is on disk when this returns.

        Raises:
            BatchStateError: the user has a batch of that name.
            TooManyRequestsError: too many of the user's batches are not ended yet.
        """
        async with self._writing:
            existing = await self._find(job.key)
            if existing is not None:
                raise BatchStateError(
                    batch_id=job.batch_id, status=existing.state.value, action="made anew"
                )
            await self._accept(job)

    async def resume(self, key: JobKey, kind: JobKind, source: tuple[list[str], int] | None) -> Job:
        """Go on with a batch that is not at work, on other paths if ``source`` gives them.

        Raises:
            OwnBatchNotFoundError, BatchStateError, TooManyRequestsError: it cannot.
        """
        async with self._writing:
            is_retry = kind is JobKind.RETRY
            job = await self._allow(key, Command.RETRY_FAILED if is_retry else Command.RESUME)
            paths, total = source or (job.paths, job.total_files)
            job = replace(job, kind=kind, paths=paths, total_files=total)
            await self._accept(job)
            return job

    async def pause(self, key: JobKey) -> None:
        """Stop working on a batch until :meth:`unpause`, whatever happens to the server."""
        await self._halt(key, State.PAUSED, Command.PAUSE)

    async def cancel(self, key: JobKey) -> None:
        """Stop working on a batch; its checkpoint stays."""
        await self._halt(key, State.CANCELLED, Command.CANCEL)

    async def unpause(self, key: JobKey) -> Job:
        """Go on with a paused batch."""
        async with self._writing:
            job = await self._allow(key, Command.UNPAUSE)
            await self._accept(job)
            return job

    async def _halt(
        self, key: JobKey, state: Literal[State.PAUSED, State.CANCELLED], command: Command
    ) -> None:
        async with self._writing:
            job = await self._allow(key, command)
            await asyncio.to_thread(self._jobs.set_state, key, state)
            self._queue.pop(key, None)
            if key in self._hosts:
                self._hosts[key].command(command)
            elif key not in self._runs:
                self._settle(replace(job, state=state))

    async def _allow(self, key: JobKey, command: Command) -> Job:
        """The job of ``key``, if ``command`` can be done to it now."""
        job = await self._get(key)
        if command not in ALLOWED[job.state]:
            raise BatchStateError(
                batch_id=job.batch_id, status=job.state.value, action=_PARTICIPLES[command]
            )
        return job

    async def _accept(self, job: Job) -> None:
        open_jobs = sum(user == job.user for user, _ in (*self._queue, *self._runs))
        if open_jobs >= self._settings.max_queued_per_user:
            limit = self._settings.max_queued_per_user
            raise TooManyRequestsError(what="batches not yet ended", limit=limit, seconds=60)
        await self._enqueue(job)

    async def _enqueue(self, job: Job) -> None:
        job = replace(job, state=State.QUEUED, error=None)
        await asyncio.to_thread(self._jobs.put, job)
        self._queue[job.key] = job
        self._publish(job)
        self._start_some()

    # --- what they are told -------------------------------------------------------------------

    async def _find(self, key: JobKey) -> Job | None:
        return await asyncio.to_thread(self._jobs.find, key)

    async def _get(self, key: JobKey) -> Job:
        job = await self._find(key)
        if job is None:
            raise OwnBatchNotFoundError(batch_id=key[1])
        return job

    async def detail(self, key: JobKey) -> dict[str, Any]:
        """The batch of ``key``; raises OwnBatchNotFoundError."""
        return await asyncio.to_thread(self._view, await self._get(key))

    async def details(self, user: str) -> list[dict[str, Any]]:
        """All batches of ``user``, oldest first."""
        jobs = await asyncio.to_thread(self._jobs.of_user, user)
        return await asyncio.to_thread(lambda: [self._view(job) for job in jobs])

    def active(self, user: str) -> list[str]:
        """The batches of ``user`` that are queued or running."""
        return sorted(batch_id for owner, batch_id in {*self._queue, *self._runs} if owner == user)

    async def follow(self, key: JobKey) -> Channel:
        """The live progress of ``key``; closed, with one message, if it is not at work.

        Raises:
            OwnBatchNotFoundError: there is no such batch.
        """
        if (channel := self._channels.get(key)) is not None:
            return channel
        view = await self.detail(key)
        if (channel := self._channels.get(key)) is not None:  # begun meanwhile
            return channel
        channel = Channel()
        channel.publish(orjson.dumps(view))
        channel.close()
        return channel

    def listeners(self, user: str) -> int:
        """How many streams ``user`` has open on batches at work."""
        return sum(c.listeners for (owner, _), c in self._channels.items() if owner == user)

    def _view(self, job: Job) -> dict[str, Any]:
        """What is known of ``job``: live, or from its checkpoint, or from its submission."""
        view: dict[str, Any] = {
            "total_docs": job.total_files,
            "processed_docs": 0,
            "failed_docs": 0,
            "skipped_docs": 0,
            "chunks": 0,
            "progress_percent": 0.0,
            "eta": None,
            "rate": 0.0,
        }
        live: dict[str, Any] = {}
        if (progress := self._progress.get(job.key)) is not None:
            state = progress.state
            live = {"eta": progress.eta, "rate": progress.rate, **asdict(state)}
            live["progress_percent"] = round(state.current_progress, 2)
        else:
            manager = CheckpointManager(
                UserFolder.of(self._settings.state_dir, job.user).batches, makes_folder=False
            )
            saved = manager.try_open(job.batch_id)
            if isinstance(saved, StoredBatch):
                live = saved.status()
        view |= {name: live[name] for name in view.keys() & live.keys()}
        view["total_docs"] = view["total_docs"] or job.total_files  # counted when it was submitted
        return {"batch_id": job.batch_id, "status": job.state.value, **view, "error": job.error}

    def _publish(self, job: Job) -> None:
        channel = self._channels.setdefault(job.key, Channel())
        channel.publish(orjson.dumps(self._view(job)))

    def counts(self) -> dict[str, int]:
        """How many batches there are in each state, for the metrics."""
        return self._jobs.counts()

    # --- running ------------------------------------------------------------------------------

    def _start_some(self) -> None:
        """Begin with as many of the queue as the limits allow, first come, first served."""
        for key, job in list(self._queue.items()):
            if self._is_stopping or len(self._runs) >= self._settings.max_running:
                return
            mine = sum(user == job.user for user, _ in self._runs)
            # A batch that was paused and is wanted again waits for its old worker to end.
            if mine < self._settings.max_running_per_user and key not in self._runs:
                del self._queue[key]
                self._runs[key] = asyncio.create_task(self._run(job))

    async def _run(self, job: Job) -> None:
        try:
            await asyncio.to_thread(self._jobs.set_state, job.key, State.RUNNING)
            job = replace(job, state=State.RUNNING)
            self._publish(job)
            end = await self._work(job)
            if not self._is_stopping:
                await self._conclude(job, end)
        except Exception as error:  # the queue must go on
            log.exception("a batch could not be run", user=job.user, batch_id=job.batch_id)
            await self._conclude(job, Ended(State.ABORTED, str(error)))
        finally:
            self._hosts.pop(job.key, None)
            self._progress.pop(job.key, None)
            self._runs.pop(job.key, None)
            self._start_some()

    async def _work(self, job: Job) -> Ended:
        """See ``job`` through one process, or through more if they die."""
        folder = UserFolder.of(self._settings.state_dir, job.user)
        roots = AllowedRoots(folder, self._settings.allowed_roots).roots
        settings = self._engine.model_copy(
            update={"state_dir": folder.batches, "document_roots": tuple(roots)}
        )
        request = _request(job, settings, self._settings, folder)
        end = Ended(State.CANCELLED)
        for attempt in range(MAX_WORKERS_PER_JOB):
            await asyncio.sleep(attempt)
            host = HostProcess(request, lambda messages: self._hear(job, messages))
            self._hosts[job.key] = host
            wanted = await self._get(job.key)
            if wanted.state is not State.RUNNING or self._is_stopping:
                break  # stopped while it was being started
            end = await host.run()
            if end.state is not State.KILLED or self._is_stopping:
                break
            log.error(
                "a worker died",
                user=job.user, batch_id=job.batch_id, detail=end.error, stderr=end.stderr,
            )  # fmt: skip
        return end

    def _hear(self, job: Job, messages: list[Message]) -> None:
        for message in messages:
            match message:
                case Progress():
                    self._progress[job.key] = message
                    self._publish(job)
                case LogLine(level, fields):
                    rest = {name: fields[name] for name in fields if name != "event"}
                    log.log(level, str(fields.get("event", "")), **rest)
                case DocSettled():
                    self._metrics.observe(message)

    async def _conclude(self, job: Job, end: Ended) -> None:
        """Write how ``job`` ended, unless its user wanted something else meanwhile."""
        async with self._writing:
            wanted = (await self._get(job.key)).state
            ended = _state_after(job, end, wanted)
            if wanted is State.QUEUED:  # wanted again already
                return
            if ended is not wanted:
                await asyncio.to_thread(self._jobs.set_state, job.key, ended, end.error)
            self._progress.pop(job.key, None)
            self._settle(replace(job, state=ended, error=end.error))

    def _settle(self, job: Job) -> None:
        """Tell those who watch that ``job`` has come to rest."""
        self._publish(job)
        self._channels.pop(job.key).close()
        if job.state is not State.PAUSED:
            log.info("a batch ended", user=job.user, batch_id=job.batch_id, state=job.state.value)
            self._metrics.batches_ended.labels(job.state.value).inc()
            self._notify(job)

    def _notify(self, job: Job) -> None:
        """Tell others of the end of ``job``, at least once: a killed server tells it again."""

        async def tell() -> None:
            view = await asyncio.to_thread(self._view, job)
            ended = BatchEnded.of(view, job.user)
            await asyncio.to_thread(notify, ended, self._engine)
            await asyncio.to_thread(self._jobs.set_notified, job.key)

        task = asyncio.create_task(tell())
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)


def _request(job: Job, settings: Settings, service: ServiceSettings, folder: UserFolder) -> Request:
    """What a host is asked for; the secrets go in clear, as its pipe is private."""
    secrets = {
        name: value.get_secret_value() for name, value in settings if isinstance(value, SecretStr)
    }
    names = ("state_dir", "max_concurrent", "checkpoint_interval")
    return Request(
        job.batch_id,
        job.paths,
        settings.model_dump(mode="json") | secrets,
        settings.model_dump(mode="json", include=set(names)),
        is_retry=job.kind is JobKind.RETRY,
        interval=1 / service.events_per_second,
        obeys_faults=service.allow_faults,
        pause_ends=True,  # so that others have its place
        folder=str(folder.files),
        log_level=service.log_level,
    )


def _state_after(job: Job, end: Ended, wanted: JobState) -> JobState:
    """The state of a job whose host ended so, and whose user wants it to be ``wanted``."""
    if end.state is State.FINISHED:
        return State.FINISHED
    if wanted is not State.RUNNING:
        return wanted
    if job.kind is JobKind.RETRY and end.report is not None:  # the batch is as it was before
        if end.state is State.CANCELLED:
            return State.CANCELLED
        report = end.report
        settled = sum(report[f"{name}_docs"] for name in ("processed", "failed", "skipped"))
        return State.FINISHED if settled == report["total_docs"] else State.ABORTED
    return State.ABORTED
