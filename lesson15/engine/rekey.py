"""Writing a batch anew under the current key, so that an old key can be retired."""

from __future__ import annotations

import shutil
from pathlib import Path

from lesson15.checkpoint.journal import read_journal
from lesson15.checkpoint.layout import BatchFolder, batch_lock
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.segment import SegmentReader
from lesson15.engine.transcript import Transcript
from lesson15.errors import UsageError


def rekey(batch_id: str, state_dir: Path | str, manager: CheckpointManager | None = None) -> str:
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
    manager = manager or CheckpointManager(state_dir)
    key_id = manager.keyring.current
    if key_id is None:
        raise UsageError(
            problem=f"There is no key to encrypt {batch_id!r} with: set LESSON15_ENCRYPTION_KEY or "
            "LESSON15_ENCRYPTION_KEY_FILE."
        )
    manager.load(batch_id)  # or say that it is unknown, before a lock is made for it
    with batch_lock(manager.folder(batch_id)):
        _, commit = manager.load(batch_id)
        if commit.encryption is None or commit.encryption.key_id != key_id:
            _write_anew(manager, batch_id)
        _sweep(manager.folder(batch_id))
    return key_id


def _write_anew(manager: CheckpointManager, batch_id: str) -> None:
    state, commit = manager.load(batch_id)
    folder, cipher = manager.folder(batch_id), manager.cipher(batch_id, commit)
    _sweep(folder)
    target = folder.at(commit.generation + 1)
    transcript = Transcript(manager, manager.load_manifest(batch_id), target)
    entries = read_journal(folder.journal, stop=commit.position, cipher=cipher)
    with SegmentReader(folder.segment, cipher) as blocks:
        transcript.write((record for _, record in entries), blocks)
    transcript.build_index()
    kept = {"number": commit.number, "next_row": commit.next_row}
    manager.save_checkpoint(state, transcript.commit.model_copy(update=kept))


def _sweep(folder: BatchFolder) -> None:
    """Remove what other generations left; it is not wiped, which no file system promises."""
    for path in folder.stale():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
