"""Sessions: a batch that is started, paused, killed and resumed from outside, in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lesson15.children import child_environment
from lesson15.errors import BatchNotFoundError, PathNotFoundError, SessionError
from lesson15.events import Committed, DocRemoved, DocSettled, DocStarted
from lesson15.faults import FaultControl, FaultPlan, FaultRule
from lesson15.lab import BatchSession
from lesson15.lab.view import BatchView
from lesson15.models import DocStatus

SLOW = FaultPlan(rules=[FaultRule(point="result", kind="delay", seconds=0.05)])


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(60):
        (folder / f"d{number:02}.txt").write_text(f"Document {number} says {number * 37}. " * 9)
    return folder


@pytest.fixture
def slow(many: Path, state: Path) -> Callable[..., BatchSession]:
    """Makes sessions on 60 documents that take 0.05 s each, two at a time."""

    def make(batch_id: str, mode: str = "process") -> BatchSession:
        FaultControl(state, batch_id).set(SLOW)
        return BatchSession(
            [many], batch_id, state, mode=mode, max_concurrent=2, checkpoint_interval=5,
            embedder="hashing",
        )  # fmt: skip

    return make


@pytest.fixture
def session_docs(docs: Path, state: Path) -> BatchSession:
    return BatchSession([docs], "b", state, mode="thread", embedder="hashing", retry_delay=0)


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_start_pause_and_go_on(slow: Callable[..., BatchSession], mode: str) -> None:
    session = slow("b", mode)
    assert (session.status, session.view.counts()["pending"]) == ("new", 60)
    begun = time.monotonic()
    session.start()
    assert time.monotonic() - begun < 1.0
    session.wait_for(lambda: session.view.settled >= 5)
    assert session.status == "running"
    session.pause()
    session.wait_for(lambda: session.status == "paused" and not session.view.count("running"))
    settled = session.view.settled
    time.sleep(0.3)
    assert session.view.settled == settled < 60
    if mode == "thread":
        session.resume()  # does the same
    else:
        session.unpause()
    report = session.wait()
    assert (report["processed_docs"], session.status) == (60, "finished")
    assert session.view.count("done") == 60
    assert len(session.view.spans) == 60
    assert {span.worker for span in session.view.spans} == {0, 1}
    assert session.verify().is_clean


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_cancel_keeps_what_is_done(slow: Callable[..., BatchSession], mode: str) -> None:
    session = slow("b", mode)
    session.start()
    session.wait_for(lambda: session.view.settled >= 8)
    session.cancel()
    assert session.wait()["status"] == session.status == "cancelled"
    kept = session.view.settled
    assert 8 <= kept < 60
    assert session.checkpoint().settled_docs == kept
    session.resume()
    assert session.wait()["processed_docs"] == 60


def test_kill_is_a_kill_and_resume_goes_on(slow: Callable[..., BatchSession]) -> None:
    session = slow("b")
    session.start()
    session.wait_for(lambda: session.view.settled >= 13)
    process = psutil.Process(session.pid)
    seen = session.view.settled
    session.kill()
    assert not process.is_running()
    assert (session.status, session.report, session.pid) == ("killed", None, None)
    committed = session.checkpoint().settled_docs
    assert committed == session.view.settled
    assert session.lost_docs >= seen - committed
    assert session.view.count("running") == 0
    session.resume()
    assert session.wait()["processed_docs"] == 60
    assert session.verify().is_clean


def test_a_new_session_takes_up_what_is_there(slow: Callable[..., BatchSession]) -> None:
    session = slow("b")
    session.start()
    session.wait_for(lambda: session.view.settled >= 13)
    session.kill()
    for taken_up in (BatchSession.attach(session.spec.state_dir, "b"), slow("b")):
        assert taken_up.status == "interrupted"
        assert taken_up.view.settled == session.view.settled >= 10
        assert len(taken_up.view) == 60
    taken_up.resume()
    assert taken_up.wait()["processed_docs"] == 60
    assert BatchSession.attach(session.spec.state_dir, "b").status == "finished"


def test_worker_stops_with_a_checkpoint_when_its_notebook_is_gone(many: Path, state: Path) -> None:
    FaultControl(state, "b").set(SLOW)
    script = (
        "from lesson15.lab import BatchSession; import time, os, signal\n"
        f"s = BatchSession([{str(many)!r}], 'b', {str(state)!r}, embedder='hashing')\n"
        "s.start(); s.wait_for(lambda: s.view.settled >= 10); print(s.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    kernel = subprocess.run(
        [sys.executable, "-c", script], env=child_environment(), stdout=subprocess.PIPE, check=False
    )
    assert kernel.returncode == -signal.SIGKILL
    worker = int(kernel.stdout)
    deadline = time.monotonic() + 300
    while psutil.pid_exists(worker) and time.monotonic() < deadline:
        if psutil.Process(worker).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.05)
    session = BatchSession.attach(state, "b")
    assert session.status == "cancelled"
    assert 10 <= session.view.settled < 60
    session.resume()
    assert session.wait()["processed_docs"] == 60


def test_a_cell_that_is_run_again_takes_the_batch_over(slow: Callable[..., BatchSession]) -> None:
    first = slow("b")
    first.start()
    first.wait_for(lambda: first.view.settled >= 6)
    second = slow("b")  # takes nothing over yet, so that it need not wait
    assert (first.is_active, second.status) == (True, "busy")
    second.resume()
    assert second.status == "starting"
    assert second.wait()["processed_docs"] == 60
    assert first.status == "cancelled"
    assert second.view.count("done") == 60
    assert second.verify().is_clean


def test_a_batch_at_work_is_not_interrupted(slow: Callable[..., BatchSession]) -> None:
    """However often it is looked at, up to its very end."""
    session = slow("b")
    session.start()
    session.wait_for(lambda: session.view.settled >= 1)
    seen = set()
    while session.is_active:
        seen.add(BatchSession.attach(session.spec.state_dir, "b").status)
    seen.add(BatchSession.attach(session.spec.state_dir, "b").status)
    assert seen == {"busy", "finished"}


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_commands_wait_until_the_batch_is_open(
    slow: Callable[..., BatchSession], mode: str
) -> None:
    session = slow("b", mode)
    session.start()
    session.pause()
    assert session.status == "starting"
    session.wait_for(lambda: session.status == "paused")
    assert session.checkpoint().status == "paused"  # it is told when it is durable
    assert session.view.settled < 60
    session.unpause()
    assert session.wait()["processed_docs"] == 60


def test_a_cancelled_start_ends(slow: Callable[..., BatchSession]) -> None:
    session = slow("b")
    session.start()
    session.cancel()
    session.wait()
    assert session.status == session.checkpoint().status == "cancelled"
    session.resume()
    session.kill()  # at once, whether there is a process yet or not
    assert session.status == "killed"
    session.resume()
    assert session.wait()["processed_docs"] == 60


def test_retrying_what_was_interrupted_comes_to_an_end(slow: Callable[..., BatchSession]) -> None:
    session = slow("b")
    session.start()
    session.wait_for(lambda: session.view.settled >= 13)
    session.kill()
    session.retry_failed()
    session.wait()
    assert session.status == "interrupted"  # most documents were not even begun
    session.resume()
    assert session.wait()["processed_docs"] == 60


def test_a_callback_that_fails_is_left_out(session_docs: BatchSession) -> None:
    calls: list[str] = []

    def broken() -> None:
        calls.append(session_docs.status)
        raise RuntimeError("a bug")

    session_docs.on_change.append(broken)
    session_docs.start()
    session_docs.wait()
    assert calls == ["starting"]
    assert session_docs.status == "finished"


def test_kernel_interrupt_leaves_the_worker_alone(slow: Callable[..., BatchSession]) -> None:
    session = slow("b")
    session.start()
    session.wait_for(lambda: session.view.settled >= 3)
    assert session.pid is not None
    assert os.getpgid(session.pid) != os.getpgid(os.getpid())
    session.cancel()
    session.wait()


def test_failures_abort_and_retry(docs: Path, state: Path) -> None:
    session = BatchSession([docs], "b", state, embedder="hashing", retry_delay=0)
    session.start()
    session.wait()
    assert (session.view.count("done"), session.view.count("failed")) == (10, 2)
    assert session.view.errors == {"EmptyDocumentError": 1, "MalformedDocumentError": 1}
    (docs / "empty.txt").write_text("Not empty any more.")
    session.retry_failed()
    session.wait()
    assert (session.view.count("done"), session.view.count("failed")) == (11, 1)
    assert session.view.status(next(d for d in session.view.doc_ids if "empty" in d)) == "done"


def test_system_error_aborts_with_its_message(docs: Path, state: Path) -> None:
    full = FaultRule(point="checkpoint_write", kind="disk_full", documents="journal.log")
    control = FaultControl(state, "b")
    control.set(FaultPlan(rules=[full]))
    session = BatchSession([docs], "b", state, embedder="hashing", retry_delay=0)
    session.start()
    assert session.wait() == {}
    assert session.status == "aborted"
    assert "No space left" in (session.error or "")
    control.clear()
    session.resume()
    assert session.wait()["processed_docs"] == 10


def test_a_worker_that_cannot_begin_says_why(docs: Path, state: Path) -> None:
    session = BatchSession([docs], "b", state, embedder="hashing", max_concurrent=0)
    session.start()
    session.wait()
    assert session.status == "aborted"
    assert "max_concurrent=0 is too small" in (session.error or "")


def test_what_is_not_possible_is_refused(
    docs: Path, state: Path, slow: Callable[..., BatchSession]
) -> None:
    session = BatchSession([docs], "b", state, embedder="hashing")
    for action in (session.pause, session.cancel, session.kill, session.resume):
        with pytest.raises(SessionError, match="it is new"):
            action()
    thread = slow("t", "thread")
    thread.start()
    with pytest.raises(SessionError, match="mode='process'"):
        thread.kill()
    thread.cancel()
    thread.wait()
    with pytest.raises(SessionError, match="start batch 't': it is cancelled"):
        thread.start()
    with pytest.raises(BatchNotFoundError):
        BatchSession.attach(state, "none")
    with pytest.raises(PathNotFoundError):
        BatchSession([docs / "nowhere"], "n", state)
    with pytest.raises(TimeoutError, match="the batch is new"):
        session.wait_for(lambda: False, 0.01)


def test_view_folds_events() -> None:
    view = BatchView(["a", "b"])
    view.fold(DocStarted("a", 3, time.time() - 1))
    assert view.counts() | {"pending": 1, "running": 1} == view.counts()
    assert view.in_work()[0][0] == 3
    view.fold(DocSettled(doc_id="a", status=DocStatus.FAILED, error_type="ValueError"))
    view.fold(DocSettled(doc_id="c", status=DocStatus.DONE, chunks=1))  # not known before
    view.fold(DocSettled(doc_id="a", status=DocStatus.FAILED, error_type="ValueError"))  # again
    view.fold(DocRemoved(doc_id="b"))
    view.fold(Committed(1, time.time()))
    assert [view.status(doc_id) for doc_id in view.doc_ids] == [
        DocStatus.FAILED, DocStatus.REMOVED, DocStatus.DONE]  # fmt: skip
    assert view.errors == {"ValueError": 1}
    (span,) = view.spans
    assert span.worker == 3
    assert 0.9 < span.end - span.start < 10
    assert view.seconds[0][1:] == [0, 1]
