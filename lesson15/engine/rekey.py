"""Writing a batch anew under the current key, so that an old key can be retired."""

from __future__ import annotations

from pathlib import Path

from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.layout import batch_lock
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.engine.transcript import Transcript, sweep
from lesson15.errors import UsageError


def rekey(batch_id: str, state_dir: Path | str, keys: Keyring | None = None) -> str:
    """Encrypt ``batch_id`` under the current key, whatever it is encrypted with, if anything.

    All files are written anew beside the old ones, and the checkpoint, replaced last, switches to
    them: killed at any moment the batch is the old or the new. Then the old files are removed; if
    the process is killed before that, the next call removes them.

    Returns:
        The id of the key.

    Raises:
        UsageError: no key is set, the batch is unknown or locked, or its old key is not at hand.
        StorageError: the batch is damaged, or the system refused; the batch is as it was.
    """
    manager = CheckpointManager(state_dir, keyring=keys, makes_folder=False)
    return rekey_in(manager, manager.open(batch_id))


def rekey_in(manager: CheckpointManager, batch: StoredBatch) -> str:
    """As :func:`rekey`, of an open batch, through the file system and the keys of ``manager``."""
    key_id = manager.keyring.current
    if key_id is None:
        raise UsageError(
            problem=f"There is no key to encrypt {batch.batch_id!r} with: set "
            "LESSON15_ENCRYPTION_KEY or LESSON15_ENCRYPTION_KEY_FILE."
        )
    with batch_lock(batch.folder):
        batch = batch.latest()
        encryption = batch.commit.encryption
        if encryption is None or encryption.key_id != key_id:
            batch = _write_anew(manager, batch)
        sweep(batch.folder)
    return key_id


def _write_anew(manager: CheckpointManager, batch: StoredBatch) -> StoredBatch:
    sweep(batch.folder)
    target = batch.folder.at(batch.commit.generation + 1)
    transcript = Transcript(manager, batch.manifest, target)
    with batch.blocks() as blocks:
        transcript.write(batch.events(), blocks)
    kept = {"number": batch.commit.number, "next_row": batch.commit.next_row}
    transcript.commit = transcript.commit.model_copy(update=kept)
    transcript.build_index(batch.state)
    manager.write(batch.state, transcript.commit)
    return batch.latest()
