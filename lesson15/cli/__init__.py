"""The command line. Starting it imports neither torch nor numpy: commands load what they need."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer

import lesson15
from lesson15.cli import (  # noqa: F401 - importing them registers their commands
    batches,
    faults,
    keys,
    lab,
    repair,
    replay,
    reports,
    serve,
    simulate,
    views,
    workers,
)
from lesson15.cli.common import ExitCode, app
from lesson15.cli.ends import named, sound_streams
from lesson15.errors import EmbeddingModelError, OutputError, StorageError, UsageError
from lesson15.logs import log_to_stderr
from lesson15.terminal import printable

__all__ = ["app", "main"]


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"lesson15 {lesson15.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options of the program itself, rather than of a command."""


def _logs() -> AbstractContextManager[None]:
    """LESSON15_LOG_LEVEL decides; on a terminal, where the report says it all, errors only.

    LESSON15_LOG_FORMAT=json makes each line a JSON object.
    """
    level = os.environ.get("LESSON15_LOG_LEVEL", "ERROR" if sys.stderr.isatty() else "WARNING")
    if os.environ.get("LESSON15_LOG_FORMAT") == "json":
        from lesson15.monitoring.json_logs import json_logs

        return json_logs(level)
    log_to_stderr(level)
    return nullcontext()


def main() -> None:
    """Entry point: errors that the user can mend are one line, without a traceback."""
    try:
        with sound_streams():
            _main()
    except OutputError as error:  # of what was printed last
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(ExitCode.RESUMABLE)


def _main() -> None:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    try:
        with _logs():
            app()
    except UsageError as error:
        print(f"Error: {printable(error)}", file=sys.stderr)
        sys.exit(ExitCode.USAGE)
    except (StorageError, EmbeddingModelError, OSError) as error:
        print(f"Error: {printable(named(error))}", file=sys.stderr)
        sys.exit(ExitCode.RESUMABLE)
    except SettingsError as error:  # of a list, or of another value that is written as JSON
        print(
            f"Error: {printable(error)}. Write it as JSON, such as LESSON15_STEPS='[\"clean\"]'.",
            file=sys.stderr,
        )
        sys.exit(ExitCode.USAGE)
    except ValidationError as error:
        prefix = "LESSON15_SERVICE_" if error.title == "ServiceSettings" else "LESSON15_"
        for fault in error.errors():
            name = prefix + "_".join(map(str, fault["loc"])).upper()
            print(f"Error: {name}={fault['input']!r}: {fault['msg']}", file=sys.stderr)
        sys.exit(ExitCode.USAGE)
