"""Commands that look at batches: status, list, search, verify; and doctor."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.cli.common import AsJson, BatchId, ExitCode, StateDir, app, print_json, state_folder
from lesson15.cli.ends import shown_status
from lesson15.models import SearchHit
from lesson15.terminal import printable


@app.command()
def status(batch_id: BatchId, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Show how far a batch is, by its last checkpoint."""
    from lesson15.engine.batch import Batch

    with Batch.open(state_folder(state_dir), batch_id) as batch:
        view = batch.status()
        again = batch.reembedding()
    if as_json:
        print_json({**view, "reembedding": again} if again is not None else view)
    else:
        share = f"{view['progress_percent']:.1f} % of {view['total_docs']} documents"
        if is_counting(view):
            share = "documents are still being counted"
        print(
            f"{batch_id}: {view['status']}, {share}; {view['processed_docs']} done, "
            f"{view['failed_docs']} failed, {view['skipped_docs']} skipped"
        )
        if again is not None:
            print(
                f"Being done again ({again['processed_docs']} of {again['total_docs']} documents "
                f"so far): `lesson15 resume {batch_id} --reembed` goes on where that ended."
            )


def is_counting(view: dict[str, Any]) -> bool:
    """Whether it is not known yet how many documents a batch has."""
    return not view.get("total_docs", 1) and view["status"] not in ("finished", "damaged")


@app.command("list")
def list_batches(state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """List all batches."""
    manager = CheckpointManager(state_folder(state_dir), makes_folder=False)
    batches: list[dict[str, Any]] = []
    for batch_id in manager.list_checkpoints():
        found = manager.try_open(batch_id)
        if isinstance(found, StoredBatch):
            batches.append(found.status())
        else:
            shown = shown_status(found)
            batches.append({"batch_id": batch_id, "status": shown, "error": str(found)})
    if as_json:
        print_json({"batches": batches, "total_count": len(batches)})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("batch", "status", "done", "failed", "skipped", "total")
    for batch in batches:
        counts = [str(batch.get(name, "?")) for name in (
            "processed_docs", "failed_docs", "skipped_docs", "total_docs")]  # fmt: skip
        if is_counting(batch):
            counts[-1] = "counting"
        table.add_row(printable(batch["batch_id"]), batch["status"], *counts)
    Console().print(table)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for.")],
    batch_id: Annotated[str, typer.Option(help="Batch to search.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of hits.")] = 5,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Find the chunks nearest in meaning to a text."""
    from lesson15.engine.searching import Searcher

    searcher = Searcher(batch_id, state_folder(state_dir))
    try:
        hits = searcher.search(text, k)
        damaged = searcher.damaged
    finally:
        searcher.close()
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        print(
            f"Left out, as damaged on the disk: {damaged[0]}{more}. `lesson15 repair {batch_id}` "
            "does it again.",
            file=sys.stderr,
        )
    if as_json:
        found = [asdict(hit) for hit in hits]
        print_json({"query": text, "batch_id": batch_id, "hits": found, "damaged": damaged})
        return
    for hit in hits:
        excerpt = " ".join(hit.text.split())
        print(f"{hit.score:.3f}  {printable(f'{hit.doc_id} ({_place(hit)})')}")
        print(f"       {printable(excerpt[:160])}")


def _place(hit: SearchHit) -> str:
    """Where in its document a hit is, for people."""
    parts = [f"chunk {hit.chunk}"]
    if hit.page is not None:
        parts.append(f"page {hit.page}")
    if hit.heading:
        parts.append(" > ".join(hit.heading))
    return ", ".join(parts)


@app.command()
def verify(batch_id: BatchId, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Check every checksum, and that each document is in the index exactly once."""
    from lesson15.engine.verify import verify as check

    result = check(batch_id, state_folder(state_dir))
    if as_json:
        print_json(result.to_dict())
    else:
        print(
            f"{batch_id}: {result.journal_records} journal records, {result.documents} documents, "
            f"{result.chunks} chunks, index {result.index or 'unchecked'}: "
            + ("clean" if result.is_clean else f"{len(result.faults)} faults")
        )
        for fault in result.faults:
            print(f"  {printable(fault)}")
        if result.remedy:
            print(f"To mend it: {result.remedy} --state-dir {state_folder(state_dir)}")
    raise typer.Exit(ExitCode.DONE if result.is_clean else ExitCode.FAILURES)


@app.command()
def doctor(state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Check the installation: packages, model weights, and whether state can be written."""
    from lesson15.doctor import examine

    checks = examine(state_folder(state_dir))
    if as_json:
        print_json({"ok": all(check["ok"] for check in checks), "checks": checks})
    else:
        for check in checks:
            print(f"{'ok  ' if check['ok'] else 'FAIL'}  {check['name']}: {check['detail']}")
    if not all(check["ok"] for check in checks):
        raise typer.Exit(ExitCode.FAILURES)
