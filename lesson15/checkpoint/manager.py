"""Saving and loading checkpoints: small JSON documents, replaced atomically."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lesson15.checkpoint.documents import (
    CipherOf,
    Commit,
    Manifest,
    decode_checkpoint,
    decode_manifest,
    encode_checkpoint,
    encode_manifest,
    generation_of,
)
from lesson15.checkpoint.encryption import Cipher, Encryption, Keyring
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
from lesson15.settings import Settings


class CheckpointManager:
    """The checkpoints under one state folder.

    New batches are encrypted if ``keyring``, by default that of the environment, has a key.

    Example:
        >>> manager = CheckpointManager("checkpoints")
        >>> manager.save_checkpoint(BatchState("monday", total_docs=3))
        >>> manager.load_checkpoint("monday").total_docs
        3
    """

    def __init__(
        self,
        checkpoint_dir: Path | str = "checkpoints",
        fs: FileSystem | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        self.checkpoint_dir = Path(checkpoint_dir)
        self._keyring = keyring
        self.fs = fs or OsFileSystem()

    def folder(self, batch_id: str) -> BatchFolder:
        """The paths of ``batch_id`` as its checkpoint has them; raises InvalidBatchIdError."""
        folder = BatchFolder.of(self.checkpoint_dir, batch_id)
        return folder.at(generation_of(folder.checkpoint))

    @property
    def keyring(self) -> Keyring:
        """The keys at hand; raises InvalidKeyError if the environment names a bad one."""
        if self._keyring is None:
            self._keyring = Keyring.of(Settings())
        return self._keyring

    def cipher(self, batch_id: str, commit: Commit) -> Cipher | None:
        """What seals and opens the files of ``batch_id``, None if they are in clear.

        Raises:
            BatchKeyError: its key is missing, or another one has its id.
        """
        return self._cipher_of(batch_id)(commit.encryption)

    def _cipher_of(self, batch_id: str) -> CipherOf:
        def cipher_of(encryption: Encryption | None) -> Cipher | None:
            return self.keyring.cipher(batch_id, encryption) if encryption else None

        return cipher_of

    def save_checkpoint(self, state: BatchState, commit: Commit | None = None) -> None:
        """Make ``state`` durable, and with it what ``commit`` covers of journal and segment.

        Without ``commit`` the one of the batch's checkpoint stays in force. ``last_checkpoint``
        of ``state`` is set to now.

        Raises:
            CheckpointWriteError: disk full, no permission or another fault of the system; the
                checkpoint before it stays.
        """
        # The checkpoint lies beside all generations: no need to read which one counts.
        folder = BatchFolder.of(self.checkpoint_dir, state.batch_id)
        if commit is None:
            is_new = not folder.checkpoint.exists()
            commit = self.new_commit() if is_new else self.load_commit(state.batch_id)
        cipher = self.cipher(state.batch_id, commit)
        previous = state.last_checkpoint
        state.last_checkpoint = time.time()
        try:
            self.fs.make_folder(folder.root)
            replace_file(self.fs, folder.checkpoint, encode_checkpoint(state, commit, cipher))
        except OSError as error:
            state.last_checkpoint = previous
            raise CheckpointWriteError(path=folder.checkpoint, detail=error) from error

    def new_commit(self) -> Commit:
        """That of an empty batch, to be encrypted if there is a key."""
        return Commit(encryption=self.keyring.start())

    def load_checkpoint(self, batch_id: str) -> BatchState:
        """The last durable state of ``batch_id``.

        Raises:
            BatchNotFoundError: there is no such batch.
            BatchKeyError: it is encrypted with another key than those at hand.
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
        state, commit = decode_checkpoint(path, self._cipher_of(batch_id))
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

    def save_manifest(self, manifest: Manifest, folder: BatchFolder | None = None) -> None:
        """Make ``manifest`` durable, in another ``folder`` than its own if one is given.

        Raises:
            CheckpointWriteError: the system refused.
        """
        folder = folder or self.folder(manifest.batch_id)
        encryption = self.keyring.start()
        cipher = self.keyring.cipher(manifest.batch_id, encryption)
        try:
            self.fs.make_folder(folder.data)
            replace_file(self.fs, folder.manifest, encode_manifest(manifest, encryption, cipher))
        except OSError as error:
            raise CheckpointWriteError(path=folder.manifest, detail=error) from error

    def load_manifest(self, batch_id: str) -> Manifest:
        """The manifest of ``batch_id``; raises as :meth:`load_checkpoint`."""
        path = self._existing(batch_id, self.folder(batch_id).manifest)
        manifest = decode_manifest(path, self._cipher_of(batch_id))
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
