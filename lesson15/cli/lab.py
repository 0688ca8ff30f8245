"""``lab``: open the course in JupyterLab."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from lesson15.cli.common import app
from lesson15.errors import MissingDependencyError


@app.command()
def lab(
    folder: Annotated[Path, typer.Option(help="Where your copies of the notebooks lie.")] = Path(
        "lesson15-course"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="The first port to try.")] = 8888,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
) -> None:
    """Open the notebooks of the course in JupyterLab.

    You work on copies, so that nothing in the source changes; a copy that is there is left alone.
    Delete one to start it afresh.
    """
    if find_spec("jupyterlab") is None:
        raise MissingDependencyError(feature="lesson15 lab", package="lesson15[course]")
    from lesson15.children import child_environment
    from lesson15.course.material import course_root

    copied = copy_notebooks(course_root() / "notebooks", folder)
    print(f"{folder}: {copied} notebooks copied, the others were there.", file=sys.stderr)
    command = [
        sys.executable, "-m", "jupyterlab", f"--notebook-dir={folder}", f"--port={port}",
        "--LabApp.default_url=/lab/tree/00_start_here.ipynb",
        *(["--no-browser"] if no_browser else []),
        *(["--allow-root"] if os.geteuid() == 0 else []),  # in a container; it listens on loopback
    ]  # fmt: skip
    try:
        raise typer.Exit(subprocess.run(command, env=child_environment(), check=False).returncode)  # noqa: S603 - fixed
    except KeyboardInterrupt:  # Ctrl-C reached Jupyter as well, which asks and ends
        raise typer.Exit(0) from None


def copy_notebooks(source: Path, folder: Path) -> int:
    """Copy the notebooks that ``folder`` does not have yet; how many these were."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [path for path in sorted(source.glob("*.ipynb")) if not (folder / path.name).exists()]
    for path in missing:
        shutil.copyfile(path, folder / path.name)
    return len(missing)
