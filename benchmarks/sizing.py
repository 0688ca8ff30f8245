"""The figures that docs/sizing.md is built from; one JSON object a line.

python benchmarks/sizing.py [--documents 2000] [--vectors 100000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import faiss
import numpy as np

from lesson15 import BatchProcessor, CheckpointManager
from lesson15.checkpoint.batch_files import BatchFiles
from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.journal import Position
from lesson15.distributed.merge import Merge
from lesson15.distributed.plan import plan
from lesson15.distributed.shards import Shards
from lesson15.engine.feed import Naming
from lesson15.events import DocSettled
from lesson15.models import BatchStatus, Chunk, DocStatus
from lesson15.stores.catalog import Catalog

DIMENSIONS, CHUNKS, CHUNK_CHARS = 384, 10, 800


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


async def measure_merge(count: int) -> dict[str, Any]:
    """Documents a second into a batch, and bytes that each takes there."""
    vectors = np.random.default_rng(0).standard_normal((CHUNKS, DIMENSIONS), np.float32)
    chunk = Chunk("word " * (CHUNK_CHARS // 5), {"span": [100_000, 100_000 + CHUNK_CHARS]})
    with tempfile.TemporaryDirectory() as name:
        manager = CheckpointManager(name)
        BatchProcessor(state_dir=name, embedder="minilm").create("b", ["docs"])
        shards = Shards(manager.folder("b"), Keyring())
        shards.prepare()
        merge = await Merge.open(manager, "b")
        ids = [f"docs/{number // 1000:04}/{number:09}.txt" for number in range(count)]
        shards.create("s", ids, merge.manifest)
        files = BatchFiles(shards.open.open("s"), manager.fs)
        for doc_id in ids:
            row, block = files.append_block(vectors, [chunk] * CHUNKS)
            files.append(
                DocSettled(
                    doc_id=doc_id, status=DocStatus.DONE, chunks=CHUNKS, at=time.time(),
                    seconds=0.123456, worker=3, fingerprint=[8000, 10**18, 10**18],
                    sha256="0" * 64, first_row=row, block=block,
                )
            )  # fmt: skip
        files.write(files.cut())
        files.close()
        shards.close("s")
        merging = await asyncio.to_thread(timed, lambda: merge.absorb(shards.closed, "s"))
        started = time.perf_counter()
        await merge.finish(BatchStatus.FINISHED, 1.0)
        indexing = time.perf_counter() - started
        await merge.aclose()
        folder = manager.folder("b")
        sizes = {
            "segment": folder.segment, "journal": folder.journal, "catalog": folder.catalog,
            "index": folder.index.with_suffix(".faiss"),
        }  # fmt: skip
        found = {f"{part}_bytes_per_doc": size_of(path) // count for part, path in sizes.items()}
    return {
        "what": "merge", "documents": count, "chunks_per_doc": CHUNKS, "dimensions": DIMENSIONS,
        "chars_per_chunk": CHUNK_CHARS, "merged_docs_per_second": round(count / merging),
        "indexed_vectors_per_second": round(count * CHUNKS / indexing), **found,
    }  # fmt: skip


def size_of(path: Path) -> int:
    """Bytes of a file."""
    return path.stat().st_size


def measure_plan(count: int) -> dict[str, Any]:
    """Documents planned a second: ids, catalogue look-up, size of the file, dealing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(count):
            (folder / f"{number:09}.txt").touch()
        paths = [str(path) for path in folder.iterdir()]
        catalog = Catalog(folder / "catalog.sqlite")
        settled = [DocSettled(doc_id=f"x{n}", status=DocStatus.DONE) for n in range(10_000)]
        catalog.apply(settled, Position(1, 1))
        seconds = timed(lambda: list(plan(paths, Naming(name), catalog, 1000, 20)))
        catalog.close()
    return {"what": "plan", "documents": count, "docs_per_second": round(count / seconds)}


def measure_indexes(count: int) -> list[dict[str, Any]]:
    """Bytes a vector, and milliseconds a search, of the exact index and of two smaller ones."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((200, DIMENSIONS), np.float32)
    vectors = centres[random.integers(0, 200, count)]
    vectors += 0.5 * random.standard_normal((count, DIMENSIONS), np.float32)
    faiss.normalize_L2(vectors)
    queries = vectors[:50]
    lists = int(4 * np.sqrt(count))
    rows = []
    exact: np.ndarray | None = None
    for name in ("Flat", f"IVF{lists},Flat", f"IVF{lists},SQ8", f"IVF{lists},PQ64"):
        index = faiss.index_factory(DIMENSIONS, name, faiss.METRIC_INNER_PRODUCT)
        training = timed(lambda: index.train(vectors))  # noqa: B023 - called at once
        adding = timed(lambda: index.add(vectors))  # noqa: B023 - as above
        if name != "Flat":
            faiss.extract_index_ivf(index).nprobe = 16
        searching = timed(lambda: [index.search(queries[i : i + 1], 10) for i in range(50)])  # noqa: B023
        found = index.search(queries, 10)[1]
        exact = found if exact is None else exact
        recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)])
        rows.append(
            {
                "what": "index", "kind": name, "vectors": count,
                "bytes_per_vector": round(len(faiss.serialize_index(index)) / count, 1),
                "train_seconds": round(training, 1), "add_per_second": round(count / adding),
                "search_ms": round(searching / 50 * 1e3, 2),
                "recall_at_10": round(float(recall), 3),
            }
        )  # fmt: skip
    return rows


def main() -> None:
    """Parse arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--vectors", type=int, default=100_000)
    args = parser.parse_args()
    print(json.dumps(asyncio.run(measure_merge(args.documents))), flush=True)
    print(json.dumps(measure_plan(20_000)), flush=True)
    faiss.omp_set_num_threads(1)
    for row in measure_indexes(args.vectors):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
