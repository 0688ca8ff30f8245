"""Batch: one batch as it stands, and everything that can be asked of it or done to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lesson15.checkpoint.encryption import Cipher, Keyring
from lesson15.checkpoint.layout import BatchFolder
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.state_files import Commit, Manifest
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.errors import EventOutOfRangeError
from lesson15.events import Event
from lesson15.models import BatchState, Failure, SearchHit

if TYPE_CHECKING:
    from lesson15.embedding import Embedder
    from lesson15.engine.dead_letters import DeadLetter
    from lesson15.engine.searching import Searcher
    from lesson15.engine.verify import Verification


class Batch:
    """The batch ``batch_id`` as its last checkpoint has it.

    The checkpoint is read once, when the batch is opened; :meth:`verify`, :meth:`search`,
    :meth:`rekey` and :meth:`fork` look whether it is still the last one.

    Args:
        state_dir: folder of all batches' state.
        batch_id: the batch.
        keys: the keys of encrypted batches; those of the environment by default.

    Raises:
        BatchNotFoundError: there is no such batch.
        BatchKeyError: it is encrypted, and its key is not at hand.
        StorageError: its state is damaged.

    Example:
        >>> with Batch.open("checkpoints", "monday") as batch:
        ...     print(batch.state.processed_docs, batch.manifest.embedder)
        ...     hits = batch.search("when is honey harvested?")
        50 minilm
    """

    def __init__(self, state_dir: Path | str, batch_id: str, keys: Keyring | None = None) -> None:
        self._manager = CheckpointManager(state_dir, keyring=keys, makes_folder=False)
        self._stored = self._manager.open(batch_id)
        self._searcher: Searcher | None = None

    @classmethod
    def open(cls, state_dir: Path | str, batch_id: str, keys: Keyring | None = None) -> Self:
        """As the class itself."""
        return cls(state_dir, batch_id, keys)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release what :meth:`search` has opened."""
        if self._searcher is not None:
            self._searcher.close()
            self._searcher = None

    # --- what it holds ------------------------------------------------------------------------

    @property
    def batch_id(self) -> str:
        """Its name."""
        return self._stored.batch_id

    @property
    def state(self) -> BatchState:
        """Its counts at the last commit."""
        return self._stored.state

    @property
    def manifest(self) -> Manifest:
        """What it is made of and with."""
        return self._stored.manifest

    @property
    def commit(self) -> Commit:
        """How much of each file counts."""
        return self._stored.commit

    @property
    def keys(self) -> Keyring:
        """The keys that it was opened with."""
        return self._manager.keyring

    @property
    def cipher(self) -> Cipher | None:
        """What opens its files, None if they are in clear."""
        return self._stored.cipher

    @property
    def folder(self) -> BatchFolder:
        """Where its files lie."""
        return self._stored.folder

    # --- what can be asked of it --------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What interfaces show of it; see :meth:`StoredBatch.status`."""
        return self._stored.status()

    def reembedding(self) -> dict[str, Any] | None:
        """The same of what is to take its place, while everything is done again; None otherwise."""
        for number in reversed(self.folder.unfinished()):
            found = self._manager.staged(self.batch_id, number).try_open(self.batch_id)
            if isinstance(found, StoredBatch):
                return found.status()
        return None

    def events(self) -> Iterator[Event]:
        """Its committed events, from the first."""
        return self._stored.events()

    def failures(self, offset: int = 0, limit: int | None = None) -> list[Failure]:
        """``limit`` entries of its dead-letter list after the first ``offset``, by document id."""
        from lesson15.stores.catalog import Catalog  # numpy

        with closing(self._stored.use(Catalog.snapshot)) as catalog:
            stop = None if limit is None else offset + limit
            return catalog.failures()[offset:stop]

    def dead_letters(self) -> Iterator[DeadLetter]:
        """Its dead-letter list with what to do about each entry, one at a time."""
        from lesson15.engine.dead_letters import dead_letters  # numpy

        return dead_letters(self._stored)

    def search(self, text: str, k: int = 5, embedder: Embedder | None = None) -> list[SearchHit]:
        """The ``k`` chunks nearest to ``text``, best first; see :class:`Searcher`."""
        if self._searcher is None:
            from lesson15.engine.searching import Searcher

            self._searcher = Searcher.of(self._stored, embedder)
        return self._searcher.search(text, k)

    def verify(self) -> Verification:
        """Check it from the ground up; see :func:`lesson15.verify`."""
        from lesson15.engine.verify import verify_batch

        return verify_batch(self._stored)

    # --- what can be done with it -------------------------------------------------------------

    def rekey(self) -> str:
        """Write it anew under the current key; see :func:`lesson15.engine.rekey.rekey`."""
        from lesson15.engine.rekey import rekey_in

        key_id = rekey_in(self._manager, self._stored)
        self._stored = self._stored.latest()
        return key_id

    def fork(self, n: int, new_batch_id: str) -> BatchState:
        """Make a batch of its first ``n`` events; see :meth:`Recording.fork`."""
        from itertools import islice

        from lesson15.engine.transcript import fork

        def begin(batch: StoredBatch) -> BatchState:
            count = sum(1 for _ in batch.events())
            if not 0 <= n <= count:
                raise EventOutOfRangeError(batch_id=batch.batch_id, n=n, count=count)
            return fork(self._manager, batch, new_batch_id, islice(batch.events(), n))

        return self._stored.use(begin)
