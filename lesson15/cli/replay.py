"""The command ``replay``: the timeline of a batch, its state at any event, and forks."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lesson15.cli.common import AsJson, BatchId, StateDir, app, print_json, state_folder
from lesson15.events import (
    AttemptFailed,
    Committed,
    DocSettled,
    Event,
    FaultInjected,
    LimitChanged,
    PartsChanged,
    RunEnded,
    RunStarted,
    ServiceBack,
    ServiceLost,
    TotalCounted,
    encode,
)
from lesson15.replay import Recording

if TYPE_CHECKING:
    from rich.text import Text

_SHOWN = 100
_BAR = 30
_NAME_CHARS = 40


@app.command()
def replay(
    batch_id: BatchId,
    state_dir: StateDir = None,
    at: Annotated[
        int | None, typer.Option(help="Show the batch as it was after this event.")
    ] = None,
    first: Annotated[int | None, typer.Option("--from", min=1, help="First event.")] = None,
    last: Annotated[int | None, typer.Option("--to", min=1, help="Last event.")] = None,
    fork: Annotated[
        str | None,
        typer.Option(metavar="NEW_ID", help="Make a new batch of the events up to --at."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the timeline of a batch, from its event log."""
    folder = state_folder(state_dir)
    recording = Recording(folder, batch_id)
    n = len(recording) if at is None else at
    summary = _summary(recording, n)
    if fork is not None:
        recording.fork(n, fork)
        summary["fork"] = fork
    start = max(0, n - _SHOWN) if first is None and not as_json else (first or 1) - 1
    stop = max(start, n if last is None else last)
    if as_json:
        events = [
            {"event": number, **encode(event)}
            for number, event in enumerate(recording.events(start, stop), start + 1)
        ]
        print_json({**summary, "events": events})
        return
    _print_timeline(recording, start, stop)
    _print_summary(summary, len(recording))
    if fork is not None:
        print(f"To go on with the fork: lesson15 resume {fork} --state-dir {folder}")


def _summary(recording: Recording, n: int) -> dict[str, Any]:
    """The state after ``n`` events, how many there were of each kind, and what each worker did."""
    state = recording.seek(n)
    kinds: dict[str, int] = {}
    workers: dict[int, dict[str, Any]] = {}
    for event in recording.events(0, n):
        kinds[event.kind] = kinds.get(event.kind, 0) + 1
        if isinstance(event, DocSettled) and event.worker is not None:
            worker = workers.setdefault(
                event.worker, {"worker": event.worker, "documents": 0, "busy_seconds": 0.0}
            )
            worker["documents"] += 1
            worker["busy_seconds"] = round(worker["busy_seconds"] + event.seconds, 6)
    return {
        "batch_id": recording.batch_id,
        "at": n,
        "total_events": len(recording),
        "elapsed_seconds": round(recording.time(n) - recording.time(0), 3),
        "state": asdict(state),
        "kinds": kinds,
        "commits": [
            {"event": event, "at": time} for event, time in recording.commits() if event <= n
        ],
        "workers": [workers[number] for number in sorted(workers)],
    }


def _print_timeline(recording: Recording, start: int, stop: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in ("#", "time, s", "event", "document", "worker", "seconds", "note"):
        is_long = name in ("document", "note")
        table.add_column(name, justify="left" if is_long else "right", no_wrap=not is_long)
    begin = recording.time(0)
    for number, event in enumerate(recording.events(start, stop), start + 1):
        settled = event if isinstance(event, DocSettled) else None
        table.add_row(
            str(number),
            "" if event.at is None else f"{event.at - begin:+.3f}",
            event.kind,
            _line(_tail(getattr(event, "doc_id", None) or "")),
            "" if settled is None or settled.worker is None else str(settled.worker),
            "" if settled is None else f"{settled.seconds:.3f}",
            _line(_note(event)),
        )
    Console(markup=False, highlight=False).print(table)
    if stop - start < len(recording):
        print(f"{stop - start} of {len(recording)} events: --from and --to choose others.")


def _line(text: str) -> Text:
    """``text`` in one line, cut off where the column ends."""
    from rich.text import Text

    return Text(text, no_wrap=True, overflow="ellipsis")


def _tail(doc_id: str) -> str:
    """The end of a name says more than its beginning."""
    return doc_id if len(doc_id) <= _NAME_CHARS else "…" + doc_id[1 - _NAME_CHARS :]


def _note(event: Event) -> str:
    """What is particular about an event, in words."""
    match event:
        case DocSettled():
            return _verdict(event)
        case AttemptFailed():
            return f"attempt {event.attempt}, after {event.policy}: {event.error}"
        case LimitChanged():
            return f"at most {event.limit} in work: {event.reason}"
        case FaultInjected():
            return f"{event.fault} at {event.point}"
        case RunStarted():
            return f"process {event.pid}"
        case RunEnded():
            return f"{event.status} after {event.seconds} s"
        case ServiceLost():
            return f"{event.service} does not answer: {event.error}"
        case ServiceBack():
            return f"{event.service} answers again after {event.seconds} s"
        case PartsChanged():
            return ", ".join(f"{part} {a} -> {b}" for part, (a, b) in event.changes.items())
        case TotalCounted():
            return f"{event.total}"
        case Committed():
            return f"{event.number}"
        case _:
            return ""


def _verdict(event: DocSettled) -> str:
    parts = [event.status.value, f"{event.chunks} chunks"]
    if event.attempts > 1:
        parts.append(f"{event.attempts} attempts")
    if event.previous_status is not None:
        parts.append(f"was {event.previous_status}")
    return ", ".join(parts) + (f": {event.error}" if event.error is not None else "")


def _print_summary(summary: dict[str, Any], total: int) -> None:
    state = summary["state"]
    print(
        f"{summary['batch_id']} after {summary['at']} of {total} events, "
        f"{summary['elapsed_seconds']:.3f} s: {state['status']}, {state['processed_docs']} of "
        f"{state['total_docs']} documents done ({state['chunks']} chunks), {state['failed_docs']} "
        f"failed, {state['skipped_docs']} skipped, {len(summary['commits'])} commits"
    )
    longest = max((worker["busy_seconds"] for worker in summary["workers"]), default=0.0)
    for worker in summary["workers"]:
        bar = "#" * round(_BAR * worker["busy_seconds"] / longest) if longest else ""
        print(
            f"  worker {worker['worker']:3}: {worker['documents']:6} documents, "
            f"{worker['busy_seconds']:9.3f} s  {bar}"
        )
