"""``mini.py``, or a broken version of it, as a module whose changes of the disk are recorded."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from lesson15 import mini

SOURCE = Path(mini.__file__).read_text(encoding="utf-8")


def load_mini(source: str = SOURCE) -> Any:
    """A module made of ``source``."""
    module = ModuleType("loaded_mini")
    module.__spec__ = ModuleSpec(module.__name__, importlib.util.find_spec("lesson15").loader)  # type: ignore[union-attr]
    sys.modules[module.__name__] = module  # where dataclasses look for it
    exec(compile(source, mini.__file__, "exec"), module.__dict__)
    return module
