"""What a folder holds, as a value: made on the disk, and told from others."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from lesson15.crashlab.disk import Content, LinkText


def digest(content: Content) -> bytes:
    """The same for the same content alone."""
    parts = (
        b"%b\0%d%d\0%b" % (os.fsencode(name), isinstance(data, LinkText), len(data), data)
        for name, data in sorted(content.items())
    )
    return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


def put(content: Content, root: Path) -> None:
    """Make ``content`` all that the folder ``root`` holds."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name, data in content.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(exist_ok=True, parents=True)
            continue
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        if isinstance(data, LinkText):
            path.symlink_to(os.fsdecode(bytes(data)))
        else:
            path.write_bytes(data)
