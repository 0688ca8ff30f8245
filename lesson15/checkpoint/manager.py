"""Saving and loading checkpoints: small JSON documents, replaced atomically."""

from __future__ import annotations

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
from lesson15.checkpoint.layout import BatchFolder
from lesson15.errors import BatchNotFoundError, CheckpointWriteError, Lesson15Error
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
        folder = self.folder(state.batch_id)
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
            CorruptCheckpointError: the checkpoint is damaged.
            SchemaTooNewError: a later lesson15 wrote it.
        """
        return self.load(batch_id)[0]

    def load_commit(self, batch_id: str) -> Commit:
        """What the last checkpoint commits to; raises as :meth:`load_checkpoint`."""
        return self.load(batch_id)[1]

    def load(self, batch_id: str) -> tuple[BatchState, Commit]:
        """State and commit, from one reading; raises as :meth:`load_checkpoint`."""
        path = self.folder(batch_id).checkpoint
        if not path.exists():
            raise BatchNotFoundError(batch_id=batch_id, state_dir=self.checkpoint_dir)
        return decode_checkpoint(path, self._cipher_of(batch_id))

    def list_checkpoints(self) -> list[str]:
        """The ids of all batches with a checkpoint, sorted; damaged ones are listed too."""
        if not self.checkpoint_dir.is_dir():
            return []
        return sorted(path.parent.name for path in self.checkpoint_dir.glob("*/checkpoint.json"))

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
        path = self.folder(batch_id).manifest
        if not path.exists():
            raise BatchNotFoundError(batch_id=batch_id, state_dir=self.checkpoint_dir)
        return decode_manifest(path, self._cipher_of(batch_id))

    def try_load(self, batch_id: str) -> BatchState | Lesson15Error:
        """The state of ``batch_id``, or the error that loading it raised, for listings."""
        try:
            return self.load_checkpoint(batch_id)
        except Lesson15Error as error:
            return error
