"""``python -m lesson15`` is the command ``lesson15``."""

from __future__ import annotations

from lesson15.cli import main

if __name__ == "__main__":
    main()
