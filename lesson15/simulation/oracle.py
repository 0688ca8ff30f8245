"""What every universe is held to: one document after the other, without the engine, and the rules
that every journal keeps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lesson15.checkpoint.encryption import Cipher
from lesson15.checkpoint.journal import read_journal
from lesson15.checkpoint.reducer import fold
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.documents.parsed import ParseOptions
from lesson15.documents.parsing import parse_document
from lesson15.documents.scan import scan
from lesson15.embedding import Embedder
from lesson15.engine.verify import verify
from lesson15.errors import Lesson15Error
from lesson15.events import Committed, DocRemoved, DocSettled, Event, RunStarted
from lesson15.models import BatchState, BatchStatus, DocStatus
from lesson15.stores import open_store
from lesson15.stores.catalog import Catalog

Counts = tuple[int, int, int, int]


class Violation(AssertionError):  # noqa: N818 - what was found, and no error of the simulation
    """The program broke a promise."""


@dataclass
class Contents:
    """Documents with their vectors, rounded so that batching does not show, and failures."""

    vectors: dict[str, bytes] = field(default_factory=dict)
    failures: set[str] = field(default_factory=set)

    def difference(self, other: Contents) -> str:
        """What ``other`` has otherwise, in words."""
        mine, others = set(self.vectors), set(other.vectors)
        parts = {
            "missing": mine - others, "too many": others - mine,
            "failed": other.failures - self.failures,
            "with other vectors": {
                name for name in mine & others if self.vectors[name] != other.vectors[name]
            },
        }  # fmt: skip
        return ", ".join(f"{what}: {', '.join(sorted(names))}" for what, names in parts.items()
                         if names)  # fmt: skip


def sequential(docs: Path, base: Path, embedder: Embedder) -> Contents:
    """What ``docs`` come to, with ids relative to ``base``."""
    contents = Contents()
    for path in scan([docs]):
        name = Path(path).relative_to(base).as_posix()
        try:
            parsed = parse_document(path, ParseOptions())
        except Lesson15Error:
            contents.failures.add(name)
        else:
            contents.vectors[name] = _rounded(
                embedder.embed([chunk.text for chunk in parsed.chunks])
            )
    return contents


def _rounded(vectors: np.ndarray) -> bytes:
    return (np.round(vectors, 3) + np.float32(0.0)).tobytes()  # adding 0 turns -0.0 into 0.0


def check_whole(batch: StoredBatch, expected: Contents) -> None:
    """Check that a finished batch is sound, and comes to what is ``expected``; raises Violation."""
    result = verify(batch.batch_id, batch.folder.root.parent, batch.keyring)
    if not result.is_clean:
        raise Violation(f"verify finds: {'; '.join(result.faults)}")
    if result.status != BatchStatus.FINISHED:
        raise Violation(f"the batch is {result.status}")
    found = _indexed(batch)
    if found != expected:
        raise Violation(f"the index is not that of the documents: {expected.difference(found)}")


def _indexed(batch: StoredBatch) -> Contents:
    """What the index holds, read back vector by vector."""
    store = open_store("faiss", batch.folder.index, batch.manifest.dimensions, batch.cipher)
    if batch.commit.next_row and store.load() is None:
        raise Violation("there is no index")
    catalog = Catalog(batch.folder.catalog, batch.cipher)
    contents, total = Contents(), 0
    try:
        for event in catalog.scan():
            if event.status is not DocStatus.DONE:
                contents.failures.add(event.doc_id)
        for event in catalog.with_vectors():
            contents.vectors[event.doc_id] = _rounded(store.get(np.array(event.rows)))
            total += event.chunks
    except KeyError as error:
        raise Violation(f"a vector is missing in the index: {error}") from error
    finally:
        catalog.close()
    if len(store.rows()) != total:
        raise Violation(f"{len(store.rows())} vectors in the index for {total} chunks")
    return contents


def live_documents(events: Iterable[Event]) -> dict[str, DocSettled]:
    """The last verdict on each document."""
    live: dict[str, DocSettled] = {}
    for event in events:
        if isinstance(event, DocSettled):
            live[event.doc_id] = event
        elif isinstance(event, DocRemoved):
            live.pop(event.doc_id, None)
    return live


def events_of(journal: Path, cipher: Cipher | None) -> list[Event]:
    """The events in ``journal``, which ends with a commit."""
    return [event for _, event in read_journal(journal, cipher=cipher)]


def check_journal(events: list[Event]) -> None:
    """Check the rules that every journal keeps; raises Violation.

    - commits are numbered one by one;
    - in one run no document is settled twice, and what was done before is done again only if its
      file is another;
    - vectors have rows of their own, in order;
    - a verdict says rightly what it replaces.
    """
    live: dict[str, DocSettled] = {}
    settled: set[str] = set()
    number, next_row = 0, 0
    for event in events:
        match event:
            case RunStarted():
                settled = set()
            case Committed():
                number += 1
                if event.number != number:
                    raise Violation(f"commit {event.number} follows commit {number - 1}")
            case DocSettled():
                _check_verdict(event, live.get(event.doc_id), settled, next_row)
                settled.add(event.doc_id)
                live[event.doc_id] = event
                if event.first_row is not None:
                    next_row = max(next_row, event.first_row + event.chunks)
            case DocRemoved():
                if live.pop(event.doc_id, None) is None:
                    raise Violation(f"{event.doc_id} is removed, and was not there")


def _check_verdict(
    event: DocSettled, before: DocSettled | None, settled: set[str], next_row: int
) -> None:
    name = event.doc_id
    if name in settled:
        raise Violation(f"{name} is settled twice in one run")
    told = before and before.status, before.chunks if before else 0
    if (event.previous_status, event.previous_chunks or 0) != told:
        raise Violation(f"{name} replaces {event.previous_status}, but the verdict was {told}")
    is_same_block = before is not None and event.block == before.block
    if event.first_row is not None and event.first_row < next_row and not is_same_block:
        raise Violation(f"{name} has row {event.first_row}, which another one has")
    if (
        before is not None
        and before.status is event.status is DocStatus.DONE
        and before.fingerprint == event.fingerprint
    ):
        raise Violation(f"{name} was done, and is done again though its file is the same")


def counts_of(events: Iterable[Event], start: BatchState) -> Counts:
    """Those of ``start`` after ``events``, which are folded into it."""
    for event in events:
        fold(start, event)
    return counts_in(start)


def counts_in(state: BatchState) -> Counts:
    """Documents done, failed and skipped, and chunks, of ``state``."""
    return state.processed_docs, state.failed_docs, state.skipped_docs, state.chunks
