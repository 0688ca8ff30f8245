"""Saving and loading checkpoints: small JSON documents, replaced atomically."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lesson15.checkpoint.documents import (
    Commit,
    Manifest,
    decode_checkpoint,
    decode_manifest,
    encode_checkpoint,
    encode_manifest,
)
from lesson15.checkpoint.filesystem import FileSystem, OsFileSystem, replace_file
from lesson15.checkpoint.journal import check_end
from lesson15.checkpoint.layout import BatchFolder
from lesson15.errors import (
    BatchNotFoundError,
    CheckpointWriteError,
    CorruptCheckpointError,
    Lesson15Error,
    StateReadError,
)
from lesson15.models import BatchState


class CheckpointManager:
    """The checkpoints under one state folder.

    Example:
        >>> manager = CheckpointManager("checkpoints")
        >>> manager.save_checkpoint(BatchState("monday", total_docs=3))
        >>> manager.load_checkpoint("monday").total_docs
        3
    """

    def __init__(
        self, checkpoint_dir: Path | str = "checkpoints", fs: FileSystem | None = None
    ) -> None:
        self.checkpoint_dir = Path(checkpoint_dir)
        self._fs = fs or OsFileSystem()

    def folder(self, batch_id: str) -> BatchFolder:
        """The paths of ``batch_id``; raises InvalidBatchIdError."""
        return BatchFolder.of(self.checkpoint_dir, batch_id)

    def save_checkpoint(self, state: BatchState, commit: Commit | None = None) -> None:
        """Make ``state`` durable, and with it what ``commit`` covers of journal and segment.

        Without ``commit`` the one of the batch's checkpoint stays in force. ``last_checkpoint``
        of ``state`` is set to now.

        Raises:
            CheckpointWriteError: disk full, no permission or another fault of the system; the
                checkpoint before it stays.
        """
        folder = self.folder(state.batch_id)
        if commit is None:
            commit = self.load_commit(state.batch_id) if folder.checkpoint.exists() else Commit()
        previous = state.last_checkpoint
        state.last_checkpoint = time.time()
        try:
            self._fs.make_folder(folder.root)
            replace_file(self._fs, folder.checkpoint, encode_checkpoint(state, commit))
        except OSError as error:
            state.last_checkpoint = previous
            raise CheckpointWriteError(path=folder.checkpoint, detail=error) from error

    def load_checkpoint(self, batch_id: str) -> BatchState:
        """The last durable state of ``batch_id``.

        Raises:
            BatchNotFoundError: there is no such batch.
            CorruptCheckpointError: the checkpoint is damaged, lost, or that of another batch, or
                the journal does not go as far.
            StateReadError: it cannot be read.
            SchemaTooNewError: a later lesson15 wrote it.
        """
        return self.load(batch_id)[0]

    def load_commit(self, batch_id: str) -> Commit:
        """What the last checkpoint commits to; raises as :meth:`load_checkpoint`."""
        return self.load(batch_id)[1]

    def load(self, batch_id: str) -> tuple[BatchState, Commit]:
        """State and commit, from one reading; raises as :meth:`load_checkpoint`."""
        path = self._existing(batch_id, self.folder(batch_id).checkpoint)
        state, commit = decode_checkpoint(path)
        _check_owner(path, state.batch_id, batch_id)
        check_end(self.folder(batch_id).journal, commit.position)
        return state, commit

    def list_checkpoints(self) -> list[str]:
        """The ids of all batches, sorted; those with a damaged or lost checkpoint are listed too.

        Raises:
            StateReadError: the folder cannot be read.
        """
        try:
            folders = list(self.checkpoint_dir.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StateReadError(path=self.checkpoint_dir, detail=error) from error
        return sorted(path.name for path in folders if BatchFolder(path, path.name).has_batch)

    def save_manifest(self, manifest: Manifest) -> None:
        """Make ``manifest`` durable; raises CheckpointWriteError."""
        folder = self.folder(manifest.batch_id)
        try:
            self._fs.make_folder(folder.root)
            replace_file(self._fs, folder.manifest, encode_manifest(manifest))
        except OSError as error:
            raise CheckpointWriteError(path=folder.manifest, detail=error) from error

    def load_manifest(self, batch_id: str) -> Manifest:
        """The manifest of ``batch_id``; raises as :meth:`load_checkpoint`."""
        path = self._existing(batch_id, self.folder(batch_id).manifest)
        manifest = decode_manifest(path)
        _check_owner(path, manifest.batch_id, batch_id)
        return manifest

    def _existing(self, batch_id: str, path: Path) -> Path:
        if not self.folder(batch_id).has_batch:
            raise BatchNotFoundError(batch_id=batch_id, state_dir=self.checkpoint_dir)
        if not os.path.lexists(path):
            raise CorruptCheckpointError(path=path, detail="the file is missing")
        return path

    def try_load(self, batch_id: str) -> BatchState | Lesson15Error:
        """The state of ``batch_id``, or the error that loading it raised, for listings."""
        try:
            return self.load_checkpoint(batch_id)
        except Lesson15Error as error:
            return error


def _check_owner(path: Path, found: str, batch_id: str) -> None:
    if found != batch_id:
        raise CorruptCheckpointError(path=path, detail=f"it belongs to the batch {found!r}")
