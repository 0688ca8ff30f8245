"""What a batch must come to: the same work, one document after the other, without the engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.segment import SegmentReader
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
            content.vectors[path] = _round(model.embed([chunk.text for chunk in parsed.chunks]))
    return content


def indexed(state: Path, batch: str) -> Content:
    """What the index of a batch holds, read back vector by vector from the index itself."""
    manager = CheckpointManager(state)
    folder, manifest = manager.folder(batch), manager.load_manifest(batch)
    cipher = manager.cipher(batch, manager.load_commit(batch))
    store = open_store(manifest.store, folder.index, manifest.dimensions, cipher)
    assert store.load() is not None, "there is no index"
    catalog = Catalog(folder.catalog, cipher)
    content = Content({}, {row.doc_id for row in catalog.scan_failures()})
    total = 0
    with SegmentReader(folder.segment, cipher) as segment:
        for row in catalog.scan_with_chunks():
            rows = np.arange(row.first_row, row.first_row + row.chunks)
            content.vectors[row.doc_id] = _round(store.get(rows))
            assert len(segment.read(row.block)[1]) == row.chunks
            total += row.chunks
    assert len(store.rows()) == len(set(store.rows().tolist())) == total
    catalog.close()
    return content
