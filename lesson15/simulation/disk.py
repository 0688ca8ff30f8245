"""The disk of a universe: real files in memory, a model of what is durable, and the crash.

The model is that of :mod:`lesson15.crashlab.disk`: of what was not flushed when the power goes,
each write is kept, lost, torn, or there by its size alone, and each change of a name is kept or
lost on its own. Where the crash lab tries every disk that is possible, the seed picks one here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from lesson15.checkpoint.filesystem import AppendFile
from lesson15.simulation.choices import Choices
from lesson15.simulation.world import Ended, World

Content = dict[str, bytes]
"""Files: path below the root -> bytes."""
_CATALOG = "catalog.sqlite"


@dataclass(eq=False)
class _Inode:
    """A file's bytes that are sure to survive, and the writes since."""

    durable: bytes = b""
    pending: list[bytes] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        return self.durable + b"".join(self.pending)


@dataclass(frozen=True)
class _NameChange:
    """``target`` is now ``inode``, and ``source``, if any, is gone."""

    target: str
    inode: _Inode
    source: str | None = None

    def apply(self, names: dict[str, _Inode]) -> None:
        if self.source is not None:
            names.pop(self.source, None)
        names[self.target] = self.inode


class SimulatedDisk:
    """A file system below ``root``; other actors may go on before each of its operations.

    Attributes:
        root: where its files lie.
        on_commit: called when a checkpoint has become durable.
        slowness: how long a flush takes at most, in seconds.
    """

    def __init__(self, root: Path, world: World) -> None:
        self.root = root
        self._world = world
        self._names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self._pending_names: list[_NameChange] = []
        self._open: set[int] = set()
        self.slowness = 0.0
        self.on_commit: Callable[[], None] = lambda: None
        self._derived_before: Content = {}

    def begin(self, world: World, slowness: float) -> None:
        """Serve another life, in ``world``."""
        self._world = world
        self.slowness = slowness
        self._derived_before = self._others()
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()

    def step(self, what: str) -> None:
        """An operation is about to be done."""
        if self._world.is_over:  # whoever still tidies up has no disk any more
            raise Ended
        self._world.progress()
        self._world.point(f"the disk's {what}")

    def flush(self, name: str) -> None:
        """Let the time pass that a flush of ``name`` takes."""
        if self.slowness:
            world = self._world
            seconds = world.choices.decide("time of a flush", self._draw_seconds, 0.0)
            if seconds:
                world.act(f"waits {seconds} s for the disk to flush {name}")
                world.sleep(seconds)

    def _draw_seconds(self, generator: Random) -> float:
        return round(self.slowness * generator.random() ** 3, 4)

    def name_of(self, path: Path) -> str:
        """How the model calls the file at ``path``."""
        return path.relative_to(self.root).as_posix()

    def written(self, name: str) -> bytes:
        """What programs see of the file ``name``, flushed or not."""
        inode = self._names.get(name)
        return inode.content if inode else b""

    # --- the port -----------------------------------------------------------------------------

    def make_folder(self, path: Path) -> None:
        """Create ``path`` and its parents, durably."""
        path.mkdir(parents=True, exist_ok=True)

    def open_append(self, path: Path) -> AppendFile:
        """Open ``path`` for appending, creating it if need be."""
        name = self.name_of(path)
        self.step(f"opening {path.name}")
        if name not in self._names:
            self._change(_NameChange(name, _Inode()))
        return _File(self, name, self._names[name], self._descriptor(path, os.O_APPEND))

    def create(self, path: Path) -> AppendFile:
        """Open ``path`` as a new, empty file, whatever was there before."""
        name = self.name_of(path)
        self.step(f"creating {path.name}")
        self._change(_NameChange(name, _Inode()))
        path.unlink(missing_ok=True)
        return _File(self, name, self._names[name], self._descriptor(path, os.O_EXCL))

    def rename(self, source: Path, target: Path) -> None:
        """Give ``source`` the name ``target``, in one step."""
        self.step(f"renaming {source.name} to {target.name}")
        source.replace(target)
        name = self.name_of(source)
        self._change(_NameChange(self.name_of(target), self._names[name], name))

    def fsync_folder(self, path: Path) -> None:
        """Make the entries of ``path`` durable."""
        self.step(f"flushing the folder {path.name}")
        self.flush(f"the folder {path.name}")
        folder = self.name_of(path)
        kept, flushed = [], dict(self._durable_names)
        for change in self._pending_names:
            if change.target.rpartition("/")[0] == folder:
                change.apply(flushed)
                if change.target.endswith("/checkpoint.json"):
                    self.on_commit()
            else:
                kept.append(change)
        self._durable_names, self._pending_names = flushed, kept

    def truncate(self, path: Path, size: int) -> None:
        """Cut ``path`` to ``size`` bytes, durably."""
        self.step(f"cutting {path.name} to {size} bytes")
        os.truncate(path, size)
        inode = self._names[self.name_of(path)]
        inode.durable, inode.pending = inode.content[:size], []

    def _change(self, change: _NameChange) -> None:
        change.apply(self._names)
        self._pending_names.append(change)

    def _descriptor(self, path: Path, flags: int) -> int:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
        self._open.add(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        """Close a file."""
        if descriptor in self._open:
            self._open.remove(descriptor)
            os.close(descriptor)

    # --- crashes ------------------------------------------------------------------------------

    def cut_power(self, choices: Choices, note: Callable[[str], None]) -> Wreck:
        """What a power cut leaves, by the seed; ``note`` is told what was lost.

        What does not go through the port is derived; it is kept, lost, or cut.
        """
        names = dict(self._durable_names)
        for change in self._pending_names:
            if choices.happens(f"name {change.target}", 0.5):
                note(f"the name {change.target} is as before: its folder was not flushed")
            else:
                change.apply(names)
        content = {name: self._fate(name, inode, choices, note) for name, inode in names.items()}
        files = {name: _Inode(data) for name, data in content.items()}
        return Wreck(files, files, [], self._derived(choices, note))

    def kill(self) -> Wreck:
        """What the end of the process leaves: what it wrote stays, flushed or not."""
        return Wreck(self._names, self._durable_names, self._pending_names, self._others())

    def _fate(
        self, name: str, inode: _Inode, choices: Choices, note: Callable[[str], None]
    ) -> bytes:
        if not inode.pending:
            return inode.durable
        pending = b"".join(inode.pending)
        fate = choices.decide(f"fate of {name}", _draw_fate, "kept")
        kind, _, share = fate.partition(" ")
        size = int(float(share or 0) * len(pending))
        if kind == "kept":
            return inode.content
        note(f"{name}: of {len(pending)} bytes that were not flushed, {_SAID[kind].format(size)}")
        lost = len(pending) - size
        tails = {
            "lost": b"", "zeros": bytes(len(pending)), "torn": pending[:size],
            "blank": pending[:size] + bytes(lost), "garbage": pending[:size] + b"\xa5" * lost,
            "hole": bytes(len(inode.pending[0])) + b"".join(inode.pending[1:]),
        }  # fmt: skip
        return inode.durable + tails[kind]

    def _derived(self, choices: Choices, note: Callable[[str], None]) -> Content:
        found = self._others()
        fate = choices.decide("fate of what is derived", _draw_derived, "kept")
        kind, _, share = fate.partition(" ")
        if kind == "kept":
            return found
        note(f"what is derived is {fate}")
        if kind == "stale":
            return self._derived_before
        logs = [name for name in found if name.endswith("-wal")]
        gone = {"lost": ("",), "without catalogue": (_CATALOG,), "without index": ("index.",)}
        for name in list(found):
            if any(part in name for part in gone.get(fate, ())):
                del found[name]
        for name in logs:
            if kind == "cut":
                found[name] = found[name][: int(float(share) * len(found[name]))]
        return found

    def _others(self) -> Content:
        """What is there and did not come through the port."""
        return {
            self.name_of(path): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and self.name_of(path) not in self._names
            and not path.name.endswith((".tmp", "lock", "-shm", "owner.json"))
        }  # fmt: skip

    def load(self, wreck: Wreck) -> None:
        """Come up with what is left."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        self._names = dict(wreck.names)
        self._durable_names = dict(wreck.durable_names)
        self._pending_names = list(wreck.pending_names)
        files = {name: inode.content for name, inode in self._names.items()}
        for name, data in {**wreck.derived, **files}.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


@dataclass(frozen=True)
class Wreck:
    """What a crash leaves of a disk."""

    names: dict[str, _Inode]
    durable_names: dict[str, _Inode]
    pending_names: list[_NameChange]
    derived: Content


class _File:
    """A file open for appending."""

    def __init__(self, disk: SimulatedDisk, name: str, inode: _Inode, descriptor: int) -> None:
        self._disk = disk
        self._name = name.rpartition("/")[2]
        self._inode = inode
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        self._disk.step(f"writing {len(data)} bytes to {self._name}")
        os.write(self._descriptor, data)
        self._inode.pending.append(bytes(data))

    def fsync(self) -> None:
        self._disk.step(f"flushing {self._name}")
        self._disk.flush(self._name)
        self._inode.durable, self._inode.pending = self._inode.content, []

    def close(self) -> None:
        self._disk.close(self._descriptor)


_SAID = {
    "lost": "none is left",
    "zeros": "the size is left, and nothing but zeros",
    "torn": "{} are left",
    "blank": "{} are left, and zeros behind them",
    "garbage": "{} are left, and garbage behind them",
    "hole": "the first write is missing below the others",
}


def _draw_fate(generator: Random) -> str:
    kind = generator.choice(["kept", "kept", *_SAID])
    if kind in ("torn", "blank", "garbage"):
        return f"{kind} {generator.random():.3f}"
    return kind


def _draw_derived(generator: Random) -> str:
    kind = generator.choice(["kept", "kept", "kept", "lost", "without catalogue", "without index",
                             "cut", "stale"])  # fmt: skip
    return f"cut {generator.random():.3f}" if kind == "cut" else kind
