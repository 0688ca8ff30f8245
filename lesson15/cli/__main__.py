"""``python -m lesson15.cli``."""

from __future__ import annotations

from lesson15.__main__ import main

main()
