"""Reading the dead-letter list of a batch, finished or not."""

from __future__ import annotations

from lesson15.checkpoint.manager import CheckpointManager
from lesson15.models import Failure
from lesson15.stores.catalog import Catalog


def failures_of(
    manager: CheckpointManager, batch_id: str, offset: int, limit: int
) -> list[Failure]:
    """``limit`` entries of the dead-letter list after the first ``offset``, by document id.

    They are those of the last commit, whether or not the batch runs.
    """
    folder = manager.folder(batch_id)
    if not folder.checkpoint.exists():
        return []
    cipher = manager.cipher(batch_id, manager.load_commit(batch_id))
    catalog = Catalog(folder.catalog, cipher)
    try:
        return catalog.failures()[offset : offset + limit]
    finally:
        catalog.close()
