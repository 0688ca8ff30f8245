"""What a batch must come to: the same work, one document after the other, without the engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesson15.checkpoint.manager import CheckpointManager
from lesson15.documents.parsed import ParseOptions
from lesson15.documents.parsing import parse_document
from lesson15.documents.scan import scan
from lesson15.embedding import Embedder, open_embedder
from lesson15.errors import Lesson15Error
from lesson15.stores import open_store
from lesson15.stores.catalog import Catalog


@dataclass
class Content:
    """Documents with their vectors, rounded so that batching does not show, and failures."""

    vectors: dict[str, bytes]
    failures: set[str]


def _round(vectors: np.ndarray) -> bytes:
    return (np.round(vectors, 3) + np.float32(0.0)).tobytes()  # adding 0 turns -0.0 into 0.0


def sequential(docs: Path, embedder: str | Embedder) -> Content:
    model = open_embedder(embedder) if isinstance(embedder, str) else embedder
    content = Content({}, set())
    for path in scan([docs]):
        try:
            parsed = parse_document(path, ParseOptions())
        except Lesson15Error:
            content.failures.add(path)
        else:
            content.vectors[path] = _round(model.embed(parsed.chunks))
    return content


def indexed(state: Path, batch: str) -> Content:
    """What the index of a batch holds, read back vector by vector from the index itself."""
    stored = CheckpointManager(state).open(batch)
    folder, manifest, cipher = stored.folder, stored.manifest, stored.cipher
    store = open_store(manifest.store, folder.index, manifest.dimensions, cipher)
    assert store.load() is not None, "there is no index"
    catalog = Catalog(folder.catalog, cipher)
    content = Content({}, {row.doc_id for row in catalog.scan_failures()})
    total = 0
    with stored.blocks() as blocks:
        for event in catalog.scan_with_chunks():
            assert event.block is not None
            content.vectors[event.doc_id] = _round(store.get(np.array(event.rows)))
            assert len(blocks.read(event.block)[1]) == event.chunks
            total += event.chunks
    assert len(store.rows()) == len(set(store.rows().tolist())) == total
    catalog.close()
    return content
