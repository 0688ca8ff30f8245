"""The command that mends a damaged batch."""

from __future__ import annotations

import typer

from lesson15.cli.common import AsJson, BatchId, ExitCode, StateDir, app, print_json, state_folder
from lesson15.settings import Settings


@app.command()
def repair(batch_id: BatchId, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Mend a damaged batch: what cannot be read is done again from the sources."""
    import asyncio

    from lesson15.engine.processor import BatchProcessor
    from lesson15.engine.repair import repair as mend

    settings = Settings()
    processor = BatchProcessor(
        settings.max_concurrent,
        settings.checkpoint_interval,
        state_dir=state_folder(state_dir),
        settings=settings,
    )
    processor.is_strict = False  # what is done again is done as it was
    report = asyncio.run(mend(processor, batch_id))
    if as_json:
        print_json(report.to_dict())
    else:
        print(
            f"{batch_id}: {len(report.redone)} documents done again, "
            f"{len(report.failures)} in the dead-letter list, "
            f"{report.lost_records} journal records lost: "
            + ("clean" if not report.faults else f"{len(report.faults)} faults")
        )
        for line in report.mended:
            print(f"  mended: {line}")
        for failure in report.failures:
            print(f"  cannot be done again: {failure.error}")
        for fault in report.faults:
            print(f"  {fault}")
    raise typer.Exit(ExitCode.DONE if report.is_whole else ExitCode.FAILURES)
