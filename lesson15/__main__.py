"""The command ``lesson15``, also as ``python -m lesson15``."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command; Ctrl-C ends it without a traceback, from the first import on."""
    try:
        from lesson15.cli import main as run_command

        run_command()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
