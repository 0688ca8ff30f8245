"""The command line. Starting it imports neither torch nor numpy: commands load what they need."""

from __future__ import annotations

import os
import sys

from lesson15.cli import (  # noqa: F401 - importing them registers their commands
    batches,
    faults,
    keys,
    replay,
    views,
    workers,
)
from lesson15.cli.common import ExitCode, app
from lesson15.errors import EmbeddingModelError, StorageError, UsageError
from lesson15.logs import log_to_stderr

__all__ = ["app", "main"]


def _configure_logs() -> None:
    """LESSON15_LOG_LEVEL decides; on a terminal, where the report says it all, errors only."""
    default = "ERROR" if sys.stderr.isatty() else "WARNING"
    log_to_stderr(os.environ.get("LESSON15_LOG_LEVEL", default))


def main() -> None:
    """Entry point: errors that the user can mend are one line, without a traceback."""
    from pydantic import ValidationError

    _configure_logs()
    try:
        app()
    except UsageError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(ExitCode.USAGE)
    except (StorageError, EmbeddingModelError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(ExitCode.RESUMABLE)
    except ValidationError as error:
        for fault in error.errors():
            name = "LESSON15_" + "_".join(map(str, fault["loc"])).upper()
            print(f"Error: {name}={fault['input']!r}: {fault['msg']}", file=sys.stderr)
        sys.exit(ExitCode.USAGE)
