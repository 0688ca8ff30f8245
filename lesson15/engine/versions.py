"""The versions of what decides, beside model and settings, what a document comes to.

A newer version is no error, as every upgrade would be one: the batch goes on with it, says so once,
and keeps it on record. ``lesson15 resume ID --reembed`` makes everything of one kind again.
"""

from __future__ import annotations

import sys

from lesson15 import plugins
from lesson15.checkpoint.state_files import Manifest
from lesson15.documents import chunkers
from lesson15.plugins import Group

_LESSON15 = "lesson15"


def versions_of(manifest: Manifest) -> dict[str, str]:
    """The present versions of the parts of ``manifest``'s batch, by part.

    Parts are "lesson15", which has all loaders of its own, "chunker NAME", "loader .SUFFIX" of each
    plugin, and "step NAME". Steps that are functions have no version.
    """
    # The package itself stands above all its parts, and is loaded when one of them is.
    found = {_LESSON15: str(sys.modules[_LESSON15].__version__)}
    name = manifest.chunker
    found[f"chunker {name}"] = (
        plugins.version_of(Group.CHUNKERS, name)
        if name in plugins.names(Group.CHUNKERS)
        else chunkers.VERSION
    )
    for suffix in plugins.names(Group.LOADERS):
        found[f"loader .{suffix}"] = plugins.version_of(Group.LOADERS, suffix)
    known = plugins.names(Group.STEPS)
    for step in manifest.steps:
        if step in known:
            found[f"step {step}"] = plugins.version_of(Group.STEPS, step)
    return found


def changed(before: dict[str, str], after: dict[str, str]) -> dict[str, list[str]]:
    """The parts that both know, in different versions: the one before, and the new one."""
    return {
        part: [version, after[part]]
        for part, version in before.items()
        if part in after and after[part] != version
    }
