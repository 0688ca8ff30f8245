"""Commands that make a running batch fail on purpose, and the option that allows it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lesson15.cli.common import AsJson, BatchId, StateDir, app, print_json, state_folder
from lesson15.errors import BatchNotFoundError
from lesson15.faults import FaultControl, FaultKind, FaultPlan, FaultPoint
from lesson15.faults.points import ALLOWED

fault_app = typer.Typer(help="Make a batch fail on purpose, to see it recover.")
app.add_typer(fault_app, name="fault", no_args_is_help=True)

Faults = Annotated[
    str | None,
    typer.Option(
        "--faults",
        metavar="PLAN.json|live",
        help="Faults to strike with; `live`: those of `lesson15 fault set`.",
    ),
]


def faults_of(
    given: str | None, state_dir: Path | None, batch_id: str
) -> FaultPlan | FaultControl | None:
    """What the option ``--faults`` asks for; raises FaultPlanError."""
    if given is None:
        return None
    if given == "live":
        return FaultControl(state_folder(state_dir), batch_id)
    return FaultPlan.load(given)


def _control(state_dir: Path | None, batch_id: str) -> FaultControl:
    folder = state_folder(state_dir)
    control = FaultControl(folder, batch_id)
    if not control.path.parent.is_dir():
        raise BatchNotFoundError(batch_id=batch_id, state_dir=folder)
    return control


@fault_app.command("set")
def set_plan(
    batch_id: BatchId,
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="The fault plan.")],
    state_dir: StateDir = None,
) -> None:
    """Put a fault plan in force; runs that were started with --faults obey at once."""
    rules = FaultPlan.load(plan)
    _control(state_dir, batch_id).set(rules)
    print(f"{batch_id}: {len(rules.rules)} fault rules in force")


@fault_app.command()
def clear(batch_id: BatchId, state_dir: StateDir = None) -> None:
    """Let no more faults strike, and let go what hangs."""
    _control(state_dir, batch_id).clear()
    print(f"{batch_id}: no faults in force")


@fault_app.command()
def show(batch_id: BatchId, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Show the fault plan in force and how often faults struck."""
    control = _control(state_dir, batch_id)
    if as_json:
        plan = control.plan.model_dump(mode="json", exclude_none=True)
        print_json({"batch_id": batch_id, "plan": plan, "fired": control.fired})
        return
    print(control.plan.to_json())
    for name, count in sorted(control.fired.items()):
        print(f"{name}: {count}")


@fault_app.command()
def points(as_json: AsJson = False) -> None:
    """Show which kinds of faults can strike where."""
    if as_json:
        print_json({point: [k for k in FaultKind if k in ALLOWED[point]] for point in FaultPoint})
        return
    from rich.console import Console
    from rich.table import Table

    headers = [point.replace("_", "_\n") for point in FaultPoint]  # to fit 80 columns
    table = Table("kind", *headers, box=None, padding=(0, 1, 0, 0))
    for kind in FaultKind:
        table.add_row(kind, *("x" if kind in ALLOWED[point] else "" for point in FaultPoint))
    Console().print(table)
