"""The host of the engine: its protocol, its table of states, and processes that end in odd ways."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lesson15 import BatchProcessor, CheckpointManager
from lesson15.checkpoint.layout import batch_lock
from lesson15.children import cause_of_end, child_environment
from lesson15.events import BlockRef, DocSettled, Paused, RunOpened
from lesson15.host.child import EngineHost
from lesson15.host.handle import HostProcess
from lesson15.host.protocol import Ended, LogLine, Message, Progress, Request, pack, unpack
from lesson15.host.states import ALLOWED, Command, State, offered
from lesson15.models import BatchState, BatchStatus, DocStatus


def request(docs: Path, state: Path, **more: object) -> Request:
    options = {"state_dir": str(state), "embedder": "hashing", "checkpoint_interval": 2}
    return Request(
        "b", [str(docs)], {"state_dir": str(state), "retry_delay": 0}, options,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_every_message_survives_the_pipe() -> None:
    settled = DocSettled(
        doc_id="a", status=DocStatus.DONE, chunks=2, at=1.5, worker=3, first_row=0,
        block=BlockRef(0, 10, 7), previous_status=DocStatus.FAILED,
    )  # fmt: skip
    for message in (
        Request("b", ["x"], {"retry_delay": 0.5}, {"embedder": None}, is_retry=True),
        Command.PAUSE,
        settled,
        RunOpened("b", 2.0),
        Progress(BatchState("b", 3, 1, status=BatchStatus.PAUSED), None, 2.5),
        LogLine(30, {"event": "a\nb"}),
        Ended(State.ABORTED, "the disk is full", {"failures": [{"doc_id": "x"}]}),
    ):
        line = pack(message)
        assert line.count(b"\n") == 1
        assert unpack(line) == message


def test_the_table_of_states() -> None:
    assert ALLOWED.keys() == set(State)
    assert all(ALLOWED.values())
    assert {state for state in State if state.is_active} == {
        State.QUEUED, State.STARTING, State.RUNNING, State.PAUSED
    }  # fmt: skip
    assert offered(State.PAUSED, has_failures=True) == ["unpause", "cancel", "kill"]
    assert offered(State.FINISHED, has_failures=False) == ["resume"]
    assert offered(State.FINISHED, has_failures=True) == ["resume", "retry_failed"]


def test_environment_of_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("LESSON15_ENCRYPTION_KEY", "secret")
    root = str(Path(__file__).parents[2])
    environment = child_environment({"LESSON15_ENCRYPTION_KEY"})
    assert environment["PYTHONPATH"].split(os.pathsep) == [root, "/elsewhere"]
    assert "LESSON15_ENCRYPTION_KEY" not in environment
    assert cause_of_end(-9) == "killed by SIGKILL"
    assert cause_of_end(3) == "it exited with status 3"


async def test_a_process_and_a_task_tell_the_same(docs: Path, state: Path, tmp_path: Path) -> None:
    told: list[list[Message]] = [[], []]
    here = request(docs, tmp_path / "other")
    ends = [
        await HostProcess(request(docs, state), told[0].extend).run(),
        await EngineHost(here, told[1].extend).run(),
    ]
    for end, messages in zip(ends, told, strict=True):
        assert end.state is State.FINISHED
        assert end.report is not None
        assert (end.report["processed_docs"], end.report["failed_docs"]) == (10, 2)
        verdicts = [message for message in messages if isinstance(message, DocSettled)]
        assert len(verdicts) == 12
        assert any(isinstance(message, Progress) for message in messages)
    kinds = [{type(message) for message in messages} - {LogLine} for messages in told]
    assert kinds[0] == kinds[1]


async def test_a_pause_can_end_the_process(docs: Path, state: Path) -> None:
    told: list[Message] = []
    process = HostProcess(request(docs, state, pause_ends=True), told.extend)
    process.command(Command.PAUSE)  # before there is a process
    end = await process.run()
    assert end == Ended(State.PAUSED)
    assert any(isinstance(message, Paused) for message in told)
    assert CheckpointManager(state).open("b").state.status is BatchStatus.PAUSED
    end = await HostProcess(request(docs, state), told.extend).run()
    assert end.report is not None
    assert end.report["processed_docs"] == 10


async def test_a_process_that_is_killed_is_dead(docs: Path, state: Path) -> None:
    process = HostProcess(request(docs, state), lambda _messages: process.kill())
    end = await process.run()
    assert (end.state, end.report) == (State.KILLED, None)
    assert "killed by SIGKILL" in (end.error or "")


async def test_it_waits_for_the_lock(
    docs: Path, state: Path, make: Callable[..., BatchProcessor]
) -> None:
    """And when whoever started it goes meanwhile, it ends and leaves the batch alone."""
    await make().process_batch([docs], "b")
    folder = CheckpointManager(state).folder("b")
    before = folder.checkpoint.read_bytes()
    again = request(docs, state)
    with batch_lock(folder):
        left = await asyncio.create_subprocess_exec(
            *HostProcess.COMMAND, stdin=asyncio.subprocess.PIPE, env=child_environment()
        )
        await left.communicate(pack(again))  # and closes the pipe
        assert left.returncode == 1
        waiting = asyncio.create_task(HostProcess(again, lambda _messages: None).run())
        await asyncio.sleep(0)
        assert not waiting.done()
    assert (await waiting).state is State.FINISHED
    assert folder.checkpoint.read_bytes() == before


async def test_sigterm_stops_at_a_checkpoint(docs: Path, state: Path) -> None:
    def stop(messages: list[Message]) -> None:
        if process.pid is not None and any(isinstance(m, DocSettled) for m in messages):
            os.kill(process.pid, signal.SIGTERM)

    for number in range(300):
        (docs / f"more{number}.txt").write_text("more " * 50)
    process = HostProcess(request(docs, state), stop)
    end = await process.run()
    assert end.state is State.CANCELLED
    assert CheckpointManager(state).open("b").state.status is BatchStatus.CANCELLED
