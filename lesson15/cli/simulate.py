"""The command that runs universes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesson15.cli.common import AsJson, ExitCode, app, print_json

if TYPE_CHECKING:
    from lesson15.simulation import Outcome, Progress


@app.command()
def simulate(
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, metavar="N", help="How many universes are run.")
    ] = 100,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="S", help="The first one; without it, another one each day."
        ),
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Run the one universe of this file.")
    ] = None,
    save_to: Annotated[
        Path, typer.Option("--save-to", metavar="DIR", help="Where such files are written.")
    ] = Path(),
    as_json: AsJson = False,
) -> None:
    """Run the engine in seeded universes: schedules, crashes, faults; tell of a broken promise.

    Exit code 1 if one was broken; the smallest universe that breaks it is printed as a story.
    """
    from lesson15.simulation import Progress, load, run_universe, save, search, tell
    from lesson15.simulation.search import first_seed

    progress = Progress()
    if replay is not None:
        outcome = run_universe(*load(replay))
        _finish(outcome, progress, None, as_json=as_json, story=tell(outcome))
    first = first_seed() if seed is None else seed
    found = search(range(first, first + seeds), progress=progress, tell=_show)
    if found is None:
        _finish(None, progress, None, as_json=as_json, first=first)
    else:
        path = save_to / f"universe-{found.first.seed}.json"
        save(found.smallest, path)
        story = tell(found.smallest)
        _finish(found.smallest, progress, path, as_json=as_json, story=story, first=first)


def _show(progress: Progress) -> None:
    if sys.stderr.isatty():
        print(f"\r{progress.universes} universes ", end="", file=sys.stderr, flush=True)


def _finish(
    outcome: Outcome | None,
    progress: Progress,
    path: Path | None,
    *,
    as_json: bool,
    story: str = "",
    first: int | None = None,
) -> None:
    """Print what was found, and end the command."""
    violation = outcome.violation if outcome else None
    if as_json:
        print_json(
            {
                "first_seed": first,
                "universes": progress.universes,
                "crashes": progress.crashes,
                "points": progress.points,
                "virtual_seconds": round(progress.virtual_seconds, 3),
                "seconds": round(progress.seconds, 3),
                "seed": outcome.seed if outcome else None,
                "violation": violation,
                "choices": dict(outcome.choices) if outcome else None,
                "replay": str(path) if path else None,
            }
        )
    else:
        if progress.universes:
            print(
                f"{progress.universes} universes from seed {first} on, {progress.crashes} crashes, "
                f"{progress.virtual_seconds:.0f} s of virtual time in {progress.seconds:.1f} s "
                f"({progress.rate:.1f} universes/s)"
            )
        print(story or "No promise was broken.")
        if path:
            print(f"\nTo run it again: lesson15 simulate --replay {path}")
    raise typer.Exit(ExitCode.FAILURES if violation else ExitCode.DONE)
