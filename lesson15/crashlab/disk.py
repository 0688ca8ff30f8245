"""What a disk may hold after a power cut, by the abstract persistence model of ALICE.

A run is recorded as a trace of file-system operations. After any prefix of it the power may go, and
of what was not fsynced by then each part survives or not, on its own (Pillai et al., "All File
Systems Are Not Created Equal", OSDI 2014, section 3.1):

- what may become of a file's bytes is in :mod:`lesson15.crashlab.inode`;
- each creation, renaming and removal of a name in a folder that was not fsynced is kept or lost on
  its own, and a name may survive without the bytes of its file, or the bytes without the name;
- files are independent of each other.

Renaming is one step. One between folders lasts when the new name's folder is fsynced; the old name
may then still be there, until its folder is fsynced, too.

A disk is "strict", as above, or "ext4", which is kinder, as many real ones are: names last in the
order in which they changed, every fsync makes all of them last, sizes never run ahead of data, and
a file that is renamed over another one brings its bytes along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from random import Random
from typing import Literal, NamedTuple, cast

from lesson15.crashlab.inode import Fates, Inode, Outcome, lost

Content = dict[str, bytes]
"""What a folder holds: the path of each file in it -> its bytes. The path of a folder ends with a
slash, and its bytes are empty; the bytes of a symbolic link are a :class:`LinkText`."""
Kind = Literal["strict", "ext4"]


class Crash(BaseException):
    """The power goes. Not an Exception, so that nothing of the engine handles it."""


class LinkText(bytes):
    """Where a symbolic link leads."""

    __slots__ = ()


@dataclass(eq=False)
class Folder:
    """A folder: what programs see of it, and what is sure to survive."""

    names: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)


class Link(Inode):
    """A symbolic link; its bytes are where it leads."""


Node = Inode | Folder
_Nodes = dict[str, Node]
"""All that is in a folder: path -> file or folder."""


@dataclass(frozen=True)
class NameChange:
    """``target`` is now ``inode`` (None: it is gone), and ``source``, if any, is gone.

    Both are names in ``folder`` and ``source_folder``; None: in the folder of the whole disk.
    """

    target: str
    inode: Node | None
    source: str | None = None
    folder: Folder | None = None
    source_folder: Folder | None = None
    number: int = 0
    brings: int = -1
    """The last operation on the file that survives with the new name, on an ordered disk."""

    def apply(self, names: dict[str, Node], sources: dict[str, Node]) -> None:
        """Do it, on the names in its folder and in that of the source."""
        if self.source is not None:
            sources.pop(self.source, None)
        if self.inode is None:
            names.pop(self.target, None)
        else:
            names[self.target] = self.inode


class State(NamedTuple):
    """A disk that a power cut may leave, and what became of what did not survive whole."""

    is_coarse: bool
    content: Content
    fates: Fates


class Disk:
    """One folder, with all that is in it."""

    def __init__(self, kind: Kind = "strict") -> None:
        self.is_ordered = kind == "ext4"
        self.root = Folder()
        self._pending: list[NameChange] = []

    @property
    def names(self) -> dict[str, Inode]:
        """The files in the folder itself, as programs see them; it has no folders in it."""
        return cast("dict[str, Inode]", self.root.names)

    @property
    def pending_names(self) -> int:
        """How many changes of names are not sure to survive."""
        return len(self._pending)

    def unflushed(self) -> frozenset[int]:
        """The numbers of the operations that are not sure to survive."""
        nodes = [*self.nodes().values(), *(change.inode for change in self._pending)]
        inodes = [node for node in nodes if isinstance(node, Inode)]
        return frozenset(
            [change.number for change in self._pending]
            + [change.number for inode in inodes for change in inode.pending]
        )

    def change(self, change: NameChange) -> None:
        """A name is given, moved or taken away."""
        folder, source_folder = change.folder or self.root, change.source_folder or self.root
        is_replacing = change.source is not None and change.target in folder.names
        if self.is_ordered and is_replacing:
            change = replace(change, brings=change.number)
        change.apply(folder.names, source_folder.names)
        self._pending.append(change)

    def fsync(self, inode: Inode) -> None:
        """The bytes of a file are sure to survive."""
        inode.flush()
        if self.is_ordered:
            self._flush_names()

    def fsync_folder(self, folder: Folder | None = None) -> None:
        """The names in ``folder`` are sure to survive."""
        folder = folder or self.root
        if self.is_ordered:
            self._flush_names()
            return
        pending, self._pending = self._pending, []
        for change in pending:
            source = change.source_folder or self.root
            if (change.folder or self.root) is not folder:
                self._pending.append(change)
            elif change.source is None or source is folder:
                change.apply(folder.durable, folder.durable)
            else:
                change.apply(folder.durable, {})
                gone = NameChange(change.source, None, folder=source, number=change.number)
                self._pending.append(gone)

    def _flush_names(self) -> None:
        for change in self._pending:
            folder, source_folder = change.folder or self.root, change.source_folder or self.root
            change.apply(folder.durable, source_folder.durable)
            if isinstance(change.inode, Inode) and change.brings >= 0:
                change.inode.flush(change.brings)
        self._pending = []

    def sync(self) -> None:
        """Everything is sure to survive."""
        self._flush_names()
        for node in self.nodes().values():
            if isinstance(node, Inode):
                node.flush()

    def load(self, content: Content) -> None:
        """Start from a disk that came up with ``content``."""
        self.root, self._pending = Folder(), []
        for path, data in content.items():
            *parents, name = path.rstrip("/").split("/")
            names = self.root.names
            for parent in parents:
                names = cast("Folder", names.setdefault(parent, Folder())).names
            if path.endswith("/"):
                names.setdefault(name, Folder())
            else:
                names[name] = Link(data) if isinstance(data, LinkText) else Inode(data)
        for folder in [self.root, *self.nodes().values()]:
            if isinstance(folder, Folder):
                folder.durable = dict(folder.names)

    def nodes(self) -> _Nodes:
        """All files and folders, as programs see them."""
        return _walk(self.root, lambda folder: folder.names)

    def content(self) -> Content:
        """What programs see."""
        return _content((path, node, _seen(node)) for path, node in self.nodes().items())

    def outcomes(self, stride: int | None = None) -> Iterator[tuple[bool, Content]]:
        """Each disk that a power cut may leave, and whether it is a coarse one. Files whose names
        end in ``.tmp``, which nothing reads, are not torn.
        """
        for state in self.states(stride, unread=".tmp"):
            yield state.is_coarse, state.content

    def states(self, stride: int | None = None, unread: str = "\0") -> Iterator[State]:
        """Each disk that a power cut may leave, the coarse ones first.

        The coarse outcomes of all files and names are combined freely; the fine ones (given a
        ``stride``, in bytes between two tears) are taken one file at a time, with everything else
        kept, and all else lost. Files whose paths end in ``unread`` are not torn.
        """
        maps = list(self._name_maps())
        for survivors in maps:
            coarse = [inode.coarse(self.is_ordered) for inode in survivors.inodes]
            for chosen in product(*coarse):
                yield survivors.state(True, chosen)
        if stride is None:
            return
        for survivors in maps:
            kept, gone = survivors.kept(), survivors.gone()
            for at, inode in enumerate(survivors.inodes):
                if not inode.pending or survivors.paths[at].endswith(unread):
                    continue
                for fine in inode.fine(stride, self.is_ordered):
                    for others in (kept, gone):
                        yield survivors.state(False, [*others[:at], fine, *others[at + 1 :]])

    def sampled(self, count: int, dice: Random) -> Iterator[State]:
        """Some disks of many, ``count`` at most: all kept, all lost, each change of a name alone
        lost, alone kept, or the last to survive, and others by ``dice``.
        """
        size = len(self._pending)
        choices = [[True] * size, [False] * size]
        for at in range(size):
            choices += [[n != at for n in range(size)], [n <= at for n in range(size)]]
            choices.append([n == at for n in range(size)])
        corners = [self._survivors(choice) for choice in choices if self._is_possible(choice)]
        for survivors in corners[: count // 3]:
            yield survivors.state(True, survivors.kept())
            yield survivors.state(True, survivors.gone())
        for _ in range(count - 2 * min(len(corners), count // 3)):
            length = dice.randint(0, size)
            choice = [
                n < length if self.is_ordered else dice.getrandbits(1) == 1 for n in range(size)
            ]
            survivors = self._survivors(choice)
            chosen = [
                dice.choice(
                    [*inode.coarse(self.is_ordered), inode.at_random(dice, self.is_ordered)]
                )
                for inode in survivors.inodes
            ]
            yield survivors.state(False, chosen)

    def _is_possible(self, choice: Sequence[bool]) -> bool:
        return not self.is_ordered or list(choice) == sorted(choice, reverse=True)

    def _name_maps(self) -> Iterator[_Survivors]:
        seen: set[frozenset[tuple[str, int]]] = set()
        choices = product((True, False), repeat=len(self._pending))
        for choice in choices:
            if self._is_possible(choice):
                survivors = self._survivors(choice)
                key = frozenset((path, id(node)) for path, node in survivors.nodes.items())
                if self.is_ordered or key not in seen:
                    seen.add(key)
                    yield survivors

    def _survivors(self, choice: Sequence[bool]) -> _Survivors:
        """What is left of the names if of their changes those survive that ``choice`` says."""
        names: dict[Folder, dict[str, Node]] = {}

        def left_of(folder: Folder | None) -> dict[str, Node]:
            folder = folder or self.root
            return names.setdefault(folder, dict(folder.durable))

        brought: dict[Node, int] = {}
        for is_kept, change in zip(choice, self._pending, strict=True):
            if is_kept:
                change.apply(left_of(change.folder), left_of(change.source_folder))
                if change.brings >= 0 and change.inode is not None:
                    brought[change.inode] = change.brings
        gone = [c for is_kept, c in zip(choice, self._pending, strict=True) if not is_kept]
        fates = tuple((change.number, "lost") for change in gone)
        nodes = _walk(self.root, lambda folder: names.get(folder, folder.durable))
        return _Survivors(nodes, fates, brought)


class _Survivors:
    """Names that survive, and the files and folders they lead to."""

    def __init__(self, nodes: _Nodes, fates: Fates, brought: dict[Node, int]) -> None:
        self.nodes, self._fates = nodes, fates
        files = {node: path for path, node in nodes.items() if isinstance(node, Inode)}
        self._numbers = {node: at for at, node in enumerate(files)}
        self.paths = list(files.values())
        self.inodes = [
            node.after(brought[node]) if node in brought else node
            for node in files
            if isinstance(node, Inode)
        ]

    def kept(self) -> list[Outcome]:
        """Each file as it was."""
        return [Outcome(inode.content) for inode in self.inodes]

    def gone(self) -> list[Outcome]:
        """Each file with what is sure to survive alone."""
        return [Outcome(inode.durable, lost(inode.pending)) for inode in self.inodes]

    def state(self, is_coarse: bool, chosen: Sequence[Outcome]) -> State:
        """The disk with these bytes in the files."""
        fates = self._fates + tuple(fate for outcome in chosen for fate in outcome.fates)
        numbers = self._numbers
        content = _content(
            (path, node, chosen[numbers[node]].data if node in numbers else b"")
            for path, node in self.nodes.items()
        )
        return State(is_coarse, content, fates)


def _walk(root: Folder, names_of: Callable[[Folder], dict[str, Node]]) -> _Nodes:
    """All that is in ``root``, by path."""
    nodes: _Nodes = {}

    def walk(folder: Folder, prefix: str, above: tuple[Folder, ...]) -> None:
        for name, node in names_of(folder).items():
            if node not in above:
                nodes[prefix + name] = node
                if isinstance(node, Folder):
                    walk(node, f"{prefix}{name}/", (*above, node))

    walk(root, "", (root,))
    return nodes


def _seen(node: Node) -> bytes:
    return node.content if isinstance(node, Inode) else b""


def _content(found: Iterable[tuple[str, Node, bytes]]) -> Content:
    content: Content = {}
    for path, node, data in found:
        if isinstance(node, Folder):
            content[path + "/"] = b""
        else:
            content[path] = LinkText(data) if isinstance(node, Link) else data
    return content
