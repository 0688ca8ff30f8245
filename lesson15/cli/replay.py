"""The command ``replay``: the timeline of a batch, its state at any event, and forks."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lesson15.cli.common import AsJson, BatchId, StateDir, app, print_json, state_folder
from lesson15.events import Record
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
            {"event": number, **record}
            for number, record in enumerate(recording.events(start, stop), start + 1)
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
    for record in recording.events(0, n):
        kinds[record["t"]] = kinds.get(record["t"], 0) + 1
        if record.get("w") is not None:
            worker = workers.setdefault(
                record["w"], {"worker": record["w"], "documents": 0, "busy_seconds": 0.0}
            )
            worker["documents"] += 1
            worker["busy_seconds"] = round(worker["busy_seconds"] + record["sec"], 6)
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
    for number, record in enumerate(recording.events(start, stop), start + 1):
        table.add_row(
            str(number),
            f"{record['at'] - begin:+.3f}" if "at" in record else "",
            record["t"],
            _line(_tail(record.get("id") or "")),
            str(record.get("w", "")),
            f"{record['sec']:.3f}" if "sec" in record else "",
            _line(_note(record)),
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


def _note(record: Record) -> str:
    """What is particular about a record, in words."""
    kind = record["t"]
    if kind == "doc":
        parts = [record["s"], f"{record['n']} chunks"]
        if record.get("try", 1) > 1:
            parts.append(f"{record['try']} attempts")
        if "was" in record:
            parts.append(f"was {record['was']}")
        return ", ".join(parts) + (f": {record['err']}" if "err" in record else "")
    if kind == "retry":
        return f"attempt {record['try']}, after {record['policy']}: {record['err']}"
    if kind == "limit":
        return f"at most {record['n']} in work: {record['why']}"
    if kind == "fault":
        return f"{record['kind']} at {record['point']}"
    if kind == "run":
        return f"process {record['pid']}"
    if kind == "end":
        return f"{record['status']} after {record['seconds']} s"
    return f"{record['n']}" if "n" in record else ""


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
