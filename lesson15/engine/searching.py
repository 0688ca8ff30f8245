"""Searching the committed part of a batch, finished or not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lesson15 import arguments
from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.segment import SegmentReader
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.embedding import Embedder, open_embedder
from lesson15.embedding.asking import ask
from lesson15.engine.provenance import Example, check_model, example_of
from lesson15.engine.reading import Derived, open_derived
from lesson15.errors import CorruptCheckpointError, StateReadError, UsageError
from lesson15.models import SearchHit


class Searcher:
    """Answers queries over one commit of a batch; opening it loads the index and the embedder.

    Args:
        batch_id: the batch.
        state_dir: folder of all batches' state, which may be read-only.
        embedder: what embeds queries; that of the batch by default.
        keys: the keys of encrypted batches; those of the environment by default.

    Raises:
        BatchNotFoundError: there is no such batch.
        OtherModelError: the embedder is not the model that the batch was made with.
        EmbedderAwayError: its service does not answer.
        StorageError: its state is damaged.

    Attributes:
        damaged: the ids of documents that are left out, as their blocks are damaged;
            ``lesson15 repair`` does them again.
    """

    def __init__(
        self,
        batch_id: str,
        state_dir: Path | str = "checkpoints",
        embedder: Embedder | None = None,
        keys: Keyring | None = None,
    ) -> None:
        self._open(
            CheckpointManager(state_dir, keyring=keys, makes_folder=False).open(batch_id), embedder
        )

    @classmethod
    def of(
        cls,
        batch: StoredBatch,
        embedder: Embedder | None = None,
        opener: Callable[[str, int], Embedder] | None = None,
    ) -> Searcher:
        """A searcher on ``batch``, or on a later commit of it if there is one by now.

        ``opener`` makes the embedder of a name and a number of dimensions, if none is given.
        """
        searcher = cls.__new__(cls)
        searcher._open(batch, embedder, opener)
        return searcher

    def _open(
        self,
        batch: StoredBatch,
        embedder: Embedder | None,
        opener: Callable[[str, int], Embedder] | None = None,
    ) -> None:
        # A batch may be done again with another model meanwhile: what is open decides.
        derived, self._blocks = batch.use(_opened)
        self._catalog, self._store = derived.catalog, derived.store
        self.damaged, manifest = derived.damaged, derived.manifest
        # Those of former chunks too; the catalogue may be of a later commit by now.
        newest = [event.rows.stop for event in self._catalog.newest()]
        self._most_rows = max(1, derived.batch.commit.next_row, *newest)
        opener = opener or open_embedder
        try:
            self._embedder = embedder or opener(manifest.embedder, manifest.dimensions)
            check_model(self._embedder, manifest, self._example, ask)
        except BaseException:
            self.close()
            raise

    def _example(self) -> Example | None:
        with suppress(StateReadError):  # which the search will meet as well
            return example_of(self._catalog, self._blocks)
        return None

    def search(self, text: str, k: int = 5) -> list[SearchHit]:
        """The ``k`` chunks nearest to ``text``, best first.

        Raises:
            UsageError: an empty query, or ``k`` below 1.
            EmbedderAwayError: the service of the embedder does not answer.
        """
        if not arguments.text("the query", text).strip():
            raise UsageError(problem="The query is empty: give some words to search for.")
        arguments.number_of_hits(k)
        query = ask(self._embedder, [text])[0]
        wanted = min(k, self._most_rows)
        while True:
            rows = self._store.search(query, wanted)
            hits = [hit for row, score in rows if (hit := self._hit(row, score))]
            if len(hits) >= k or len(rows) < wanted or wanted == self._most_rows:
                return hits[:k]
            wanted = min(2 * wanted, self._most_rows)  # some belong to damaged documents

    def _hit(self, row: int, score: float) -> SearchHit | None:
        document = self._catalog.owner_of(row)
        if document is None or document.block is None:
            return None
        number = row - document.rows.start
        try:
            chunks = self._blocks.read(document.block)[1]
        except CorruptCheckpointError:  # the index was made before the damage
            if document.doc_id not in self.damaged:
                self.damaged.append(document.doc_id)
            return None
        return SearchHit.of(document.doc_id, number, score, chunks[number])

    def close(self) -> None:
        """Release files and memory."""
        self._blocks.close()
        self._catalog.close()
        self._store.close()


def _opened(batch: StoredBatch) -> tuple[Derived, SegmentReader]:
    """All that a search needs, of one commit, from files that are open."""
    derived = open_derived(batch)
    blocks = derived.batch.blocks()
    try:
        if derived.batch.commit.next_row:
            blocks.open()
    except BaseException:
        derived.catalog.close()
        derived.store.close()
        raise
    return derived, blocks
