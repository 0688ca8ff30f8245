"""Makes every way to change a disk lead to a recorder."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any

from lesson15.crashlab import unseen
from lesson15.crashlab.calls import BODIES, Traced
from lesson15.crashlab.files import file_class, open_function
from lesson15.crashlab.patching import swap
from lesson15.crashlab.recorder import Recorder


@contextlib.contextmanager
def traced(recorder: Recorder, *, is_last: bool = False) -> Iterator[None]:
    """Let every reference to a function that changes a disk lead to ``recorder``.

    Within another one of the same recorder it does nothing more. ``is_last``: the process ends with
    it, so that nothing needs to be put back.
    """
    if unseen.is_watched(recorder):
        yield
        return
    calls = {
        name: Traced(recorder, getattr(os, name), body)
        for name, body in BODIES.items()
        if hasattr(os, name)
    }
    pairs: list[tuple[Any, Any]] = [(each.real, each) for each in calls.values()]
    file_io = file_class(recorder, calls["open"])
    pairs += [(io.open, open_function(recorder, file_io)), (io.FileIO, file_io)]
    swap(pairs)
    unseen.watch(recorder)
    try:
        yield
    finally:
        unseen.unwatch()
        if not is_last:
            swap([(new, old) for old, new in pairs])
