"""Shards on shared storage. A shard is a batch in a folder of its own, with one writer ever.

``shards/open/<id>`` is put there by the coordinator and claimed by one worker. Closing it is one
rename, to ``shards/closed/<id>``: all that a worker commits goes by paths in the open folder, so
from then on no commit of its can succeed, however late it wakes up. The rename is the fence, and
an id, which is never used again, the fencing token.

No clock is compared with another machine's: a lease is alive as long as its ``beat`` changes.
"""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.filesystem import OsFileSystem
from lesson15.checkpoint.layout import BatchFolder
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.state_files import Manifest


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's hold on a shard. ``error`` is what ended it early, if anything did."""

    owner: str
    beat: int = 0
    has_ended: bool = False
    error: str | None = None


class ShardFileSystem(OsFileSystem):
    """What a shard's commits go through: a folder that is gone is not made again."""

    def make_folder(self, path: Path) -> None:
        """Check that ``path`` is there; raises FileNotFoundError."""
        path.stat()


class Shards:
    """The shards of the batch in ``folder``, encrypted if ``keyring`` has a key."""

    def __init__(self, folder: BatchFolder, keyring: Keyring) -> None:
        self.root = folder.shards
        self.open = CheckpointManager(self.root / "open", keyring=keyring, makes_folder=False)
        self.closed = CheckpointManager(self.root / "closed", keyring=keyring, makes_folder=False)
        self._new = CheckpointManager(self.root / "new", keyring=keyring, makes_folder=False)

    # --- the coordinator's side ---------------------------------------------------------------

    def prepare(self) -> None:
        """Make the folders; from now on the batch is known as a distributed one."""
        for manager in (self._new, self.open, self.closed):
            OsFileSystem().make_folder(manager.checkpoint_dir)

    def create(self, shard_id: str, documents: list[str], batch: Manifest) -> None:
        """Make a shard of ``documents`` (ids); raises CheckpointWriteError."""
        # Its index is never read, so it gets the one that costs least.
        changes = {"batch_id": shard_id, "sources": documents, "store": "faiss"}
        self._new.create(batch.model_copy(update=changes), len(documents))
        self._new.folder(shard_id).root.rename(self.open.folder(shard_id).root)

    def create_offer(self, shard_id: str) -> None:
        """Make a shard without documents: who claims it has nothing else to do."""
        self.open.folder(shard_id).root.mkdir()

    def lease(self, shard_id: str) -> Lease | None:
        """The hold on a shard, None if no worker has claimed it."""
        try:
            return Lease(**orjson.loads(self._lease_file(shard_id).read_bytes()))
        except FileNotFoundError:
            return None

    def close(self, shard_id: str) -> None:
        """Fence a shard: whatever its worker has not committed by now it never will."""
        self.open.folder(shard_id).root.rename(self.closed.folder(shard_id).root)

    def close_all(self) -> list[str]:
        """Close what is open, as a coordinator left it, and return every closed shard."""
        for folder in self.open.checkpoint_dir.iterdir():
            self.close(folder.name)
        return sorted(folder.name for folder in self.closed.checkpoint_dir.iterdir())

    def delete(self, shard_id: str) -> None:
        """Remove a closed shard; a worker that writes to its open files is no hindrance."""
        shutil.rmtree(self.closed.folder(shard_id).root, ignore_errors=True)

    def delete_all(self) -> None:
        """Remove every trace: the batch is a normal one from now on."""
        shutil.rmtree(self.root, ignore_errors=True)

    # --- the worker's side --------------------------------------------------------------------

    def claim_next(self, owner: str) -> tuple[str, Lease] | None:
        """Take the first shard, by id, that no worker has; None if there is none."""
        try:
            shard_ids = sorted(os.listdir(self.open.checkpoint_dir))  # noqa: PTH208 - names
        except FileNotFoundError:
            return None  # the batch is done
        for shard_id in shard_ids:
            if not self._lease_file(shard_id).exists() and (lease := self.claim(shard_id, owner)):
                return shard_id, lease
        return None

    def claim(self, shard_id: str, owner: str) -> Lease | None:
        """Take a shard, None if another worker has it or it is no more.

        A hard link is made by one process only, on NFS too (see open(2) on O_EXCL).
        """
        lease = Lease(owner)
        target = self._lease_file(shard_id)
        temporary = target.with_name(f"claim-{uuid.uuid4().hex}")
        try:
            temporary.write_bytes(orjson.dumps(asdict(lease)))
            with suppress(FileExistsError):
                os.link(temporary, target)
            is_ours = temporary.stat().st_nlink == 2  # noqa: PLR2004, RUF100 - its two names
            temporary.unlink()
        except FileNotFoundError:
            return None
        return lease if is_ours else None

    def renew(self, shard_id: str, lease: Lease) -> None:
        """Show that the worker lives, or what it came to.

        Raises:
            FileNotFoundError: the shard was closed.
        """
        target = self._lease_file(shard_id)
        temporary = target.with_name("beat.tmp")
        temporary.write_bytes(orjson.dumps(asdict(lease)))
        temporary.replace(target)

    def is_open(self, shard_id: str) -> bool:
        """Whether the shard may still be written to."""
        return self.open.folder(shard_id).root.is_dir()

    def _lease_file(self, shard_id: str) -> Path:
        return self.open.folder(shard_id).root / "lease.json"
