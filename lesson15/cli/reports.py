"""What runs are reported as to people, and the command that lists what failed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lesson15.cli.common import AsJson, BatchId, StateDir, app, print_json, state_folder
from lesson15.models import BatchStatus
from lesson15.terminal import printable

_COUNTS = ("new", "updated", "unchanged", "dropped", "failed", "skipped", "hidden")
_CHANGES = ("new", "updated", "dropped", "failed", "skipped", "hidden")


def print_report(report: dict[str, Any], hint: str) -> None:
    """Print the report of a run; ``hint`` is the command that goes on with the batch."""
    print(
        f"{report['batch_id']}: {report['status']}, {report['processed_docs']} of "
        f"{report['total_docs']} documents done ({report['chunks']} chunks), "
        f"{report['failed_docs']} failed, {report['skipped_docs']} skipped, "
        f"{report['seconds']:.1f} s"
    )
    if report["run"] is not None:
        print(f"This run: {printable(describe(report['run']))}")
    for failure in report["failures"]:
        print(f"  {printable(failure['error'])} (attempts: {failure['attempts']})")
    if report["status"] != BatchStatus.FINISHED:
        print(f"To go on: {printable(hint)}")


def describe(run: dict[str, Any]) -> str:
    """What a run did, in one line."""
    if any(run[name] for name in _CHANGES):
        text = ", ".join(f"{run[name]} {name}" for name in _COUNTS if run[name])
    else:
        text = f"nothing changed, {run['unchanged']} documents as before"
    if run["hidden"]:
        text += " (could not be read and were kept as they were)"
    if run["unsupported"]:
        counts = sorted(run["unsupported"].items(), key=lambda item: (-item[1], item[0]))
        listed = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in counts)
        text += f"; not supported: {listed}"
    return f"{text}; {run['seconds']:.1f} s"


@app.command()
def failures(batch_id: BatchId, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """List the documents that failed or were skipped, and what to do about each."""
    from lesson15.engine.batch import Batch

    with Batch.open(state_folder(state_dir), batch_id) as batch:
        letters = batch.dead_letters()
        if as_json:
            found = [asdict(letter) for letter in letters]
            print_json({"batch_id": batch_id, "failures": found, "total_count": len(found)})
            return
        count = 0
        for letter in letters:
            count += 1
            print(f"{letter.status.value}  {printable(letter.error)}")
            print(f"        {printable(letter.remedy)}")
    print(f"{batch_id}: {count} documents failed or were skipped.")
