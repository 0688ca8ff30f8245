"""Appends the end of each batch to a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from lesson15.notifications import BatchEnded


class FileNotifier:
    """Writes one line of JSON to the file that LESSON15_EXAMPLE_NOTICES names, if it does."""

    def __call__(self, ended: BatchEnded, /) -> None:
        """Tell of ``ended``."""
        name = os.environ.get("LESSON15_EXAMPLE_NOTICES")
        if name:
            with Path(name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(ended.to_dict()) + "\n")
