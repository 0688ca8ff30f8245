"""CheckpointManager: the batches under one state folder, as a program sees them."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from pathlib import Path
from typing import Self

from lesson15.arguments import state_path
from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.filesystem import FileSystem, OsFileSystem
from lesson15.checkpoint.layout import BatchFolder
from lesson15.checkpoint.state_files import (
    Commit,
    Manifest,
    make_folder,
    save_checkpoint,
    save_manifest,
)
from lesson15.checkpoint.stored_batch import StoredBatch, open_folder
from lesson15.errors import BatchNotFoundError, Lesson15Error, StateReadError, UsageError
from lesson15.models import BatchState
from lesson15.settings import Settings


class CheckpointManager:
    """The batches under ``checkpoint_dir``.

    Args:
        checkpoint_dir: folder of all batches' state.
        fs: what is written goes through it.
        keyring: new batches are encrypted if it has a key; that of the environment by default.
        makes_folder: make ``checkpoint_dir`` now; otherwise the first batch that is saved does, and
            reading leaves no trace.

    Raises:
        CheckpointWriteError: the folder cannot be made.

    Example:
        >>> manager = CheckpointManager("checkpoints")
        >>> await manager.save_checkpoint(BatchState("monday", total_docs=3))
        >>> (await manager.load_checkpoint("monday")).total_docs
        3
    """

    def __init__(
        self,
        checkpoint_dir: Path | str = "checkpoints",
        fs: FileSystem | None = None,
        keyring: Keyring | None = None,
        *,
        makes_folder: bool = True,
    ) -> None:
        self.checkpoint_dir = state_path(checkpoint_dir)
        self._keyring = keyring
        self.fs = fs or OsFileSystem()
        if makes_folder:
            make_folder(self.fs, self.checkpoint_dir)

    @property
    def keyring(self) -> Keyring:
        """The keys at hand; raises InvalidKeyError if the environment names a bad one."""
        if self._keyring is None:
            self._keyring = Keyring.of(Settings())
        return self._keyring

    # --- the calls of programs ----------------------------------------------------------------

    async def save_checkpoint(self, state: BatchState) -> None:
        """Make ``state`` durable; journal and segment count as far as they did before.

        ``last_checkpoint`` of ``state`` is set to now.

        Raises:
            CheckpointWriteError: disk full, no permission or another fault of the system; the
                checkpoint before it stays.
        """
        await asyncio.to_thread(self._save, state)

    def _save(self, state: BatchState) -> None:
        try:
            commit = self.open(state.batch_id).commit
        except BatchNotFoundError:
            commit = Commit(encryption=self.keyring.start())
        self.write(state, commit)

    async def load_checkpoint(self, batch_id: str) -> BatchState | None:
        """The last durable state of ``batch_id``, None if there is no such batch.

        Raises:
            BatchKeyError, StorageError: as :class:`StoredBatch` does.
        """
        try:
            return (await asyncio.to_thread(self.open, batch_id)).state
        except BatchNotFoundError:
            return None

    def list_checkpoints(self) -> list[str]:
        """The ids of all batches, sorted; those with a damaged, lost or hidden checkpoint too.

        Raises:
            StateReadError: the folder cannot be read.
        """
        try:
            folders = list(self.checkpoint_dir.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StateReadError(path=self.checkpoint_dir, detail=error) from error
        return sorted(path.name for path in folders if _may_be_batch(path))

    # --- reading and making batches -----------------------------------------------------------

    def folder(self, batch_id: str) -> BatchFolder:
        """Where ``batch_id`` lies, or would; its data may be a later generation's, which only
        :meth:`open` can say. Raises InvalidBatchIdError.
        """
        return BatchFolder.of(self.checkpoint_dir, batch_id)

    def folder_at_rest(self, batch_id: str, then: str) -> BatchFolder:
        """The folder of a batch that no workers are busy with; ``then`` is what is wanted of it.

        Raises:
            UsageError: there is no such batch, or workers are not done with it.
        """
        folder = self.folder(batch_id)
        if not folder.has_batch:
            raise BatchNotFoundError(batch_id=batch_id, state_dir=self.checkpoint_dir)
        if folder.shards.is_dir():
            raise UsageError(
                problem=f"Workers are not done with batch {batch_id!r}: run `lesson15 resume "
                f"{batch_id}` to its end, then {then}."
            )
        return folder

    def open(self, batch_id: str) -> StoredBatch:
        """The batch ``batch_id`` as it stands.

        Raises:
            UsageError, StorageError: as :func:`lesson15.checkpoint.stored_batch.open_batch` does.
        """
        return open_folder(self.folder(batch_id), self.keyring)

    def try_open(self, batch_id: str) -> StoredBatch | Lesson15Error:
        """The batch ``batch_id``, or the error that opening it raised, for listings."""
        try:
            return self.open(batch_id)
        except Lesson15Error as error:
            return error

    def create(self, manifest: Manifest, total_docs: int) -> StoredBatch:
        """Make a batch: its manifest, then an empty checkpoint, without which it is none.

        Raises:
            CheckpointWriteError: the system refused.
        """
        save_manifest(self.fs, self.folder(manifest.batch_id), manifest, self.keyring)
        commit = Commit(encryption=self.keyring.start())
        batch = self.write(BatchState(manifest.batch_id, total_docs=total_docs), commit)
        return replace(batch, made_of=manifest)

    def write(self, state: BatchState, commit: Commit) -> StoredBatch:
        """Replace the checkpoint by ``state`` at ``commit``; raises CheckpointWriteError."""
        folder = self.folder(state.batch_id).at(commit.generation)
        batch = StoredBatch(folder, state, commit, self.keyring)
        make_folder(self.fs, folder.root)
        save_checkpoint(self.fs, folder, state, commit, batch.cipher)
        return batch

    # --- other managers -----------------------------------------------------------------------

    def on(self, fs: FileSystem) -> Self:
        """This manager, with what is written going through ``fs``."""
        other = copy.copy(self)
        other.fs = fs
        return other

    def staged(self, batch_id: str, generation: int) -> StagedManager:
        """A manager to which ``batch_id`` is what is being made as its ``generation``."""
        return StagedManager(self, batch_id, generation)


class StagedManager(CheckpointManager):
    """Knows one batch, a later generation of one of ``manager``'s that does not count yet.

    The generation's folder has a checkpoint of its own, so that it is made like any batch, and may
    be killed like one. All its files already lie where they are to be once they count.
    """

    def __init__(self, manager: CheckpointManager, batch_id: str, generation: int) -> None:
        super().__init__(manager.checkpoint_dir, manager.fs, manager.keyring, makes_folder=False)
        self._root = manager.folder(batch_id).at(generation).data

    def folder(self, batch_id: str) -> BatchFolder:
        """The folder of the generation, as that of a batch."""
        return BatchFolder(self._root, batch_id)


def _may_be_batch(path: Path) -> bool:
    """Whether the folder ``path`` holds a batch, or cannot be looked into."""
    try:
        return BatchFolder(path, path.name).has_batch
    except StateReadError:
        return True
