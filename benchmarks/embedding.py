"""Chunks a second of the whole engine, against one-shot encode and two peers, in one run.

    python benchmarks/embedding.py [--documents 200] [--rounds 3]

All use the same weights, the same documents and the same chunks. One-shot is a single
``SentenceTransformer.encode`` over all chunks; it does no parsing, no checkpoints, no index. The
peers get the chunks ready-made, embed them through their own pipeline, and keep their own record
of what was done (LlamaIndex's docstore, LangChain's record manager). The contestants alternate,
and the medians are compared. The peers keep their defaults (LangChain embeds 100 chunks at a time,
LlamaIndex 10). The engine has as many documents in work as ``--max-concurrent`` says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lesson15 import BatchProcessor
from lesson15.documents.parsed import ParseOptions
from lesson15.documents.parsing import parse_document
from lesson15.documents.scan import scan
from lesson15.embedding.minilm import MiniLMEmbedder

WORDS = Path(__file__).parent.parent / "README.md"


def write_documents(folder: Path, count: int, seed: int = 15) -> None:
    """Text documents of 1 to 12 paragraphs made of the README's words, reproducibly."""
    words = WORDS.read_text(encoding="utf-8").split()
    dice = random.Random(seed)
    for number in range(count):
        paragraphs = (
            " ".join(dice.choices(words, k=dice.randint(15, 90))) + "."
            for _ in range(dice.randint(1, 12))
        )
        (folder / f"{number:05}.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")


class Contest:
    """The four ways to embed the same chunks; each returns the number that it embedded."""

    def __init__(self, docs: Path, concurrency: int) -> None:
        self.docs = docs
        self.concurrency = concurrency
        self.embedder = MiniLMEmbedder()
        self.chunks = [
            (path, number, chunk.text)
            for path in scan([docs])
            for number, chunk in enumerate(parse_document(path, ParseOptions()).chunks)
        ]

    def one_shot(self) -> int:
        """``encode`` with its own defaults, over everything at once."""
        texts = [text for _, _, text in self.chunks]
        return len(self.embedder.model.encode(texts, normalize_embeddings=True))

    def engine(self) -> int:
        """The whole engine: parse, chunk, embed, index, checkpoint every 10 documents."""
        with tempfile.TemporaryDirectory() as state:
            processor = BatchProcessor(
                self.concurrency, 10, state_dir=state, embedder=self.embedder
            )
            report = asyncio.run(processor.process_batch([self.docs], "bench"))
        return int(report["chunks"])

    def llama_index(self) -> int:
        """LlamaIndex IngestionPipeline with a docstore, in memory."""
        from llama_index.core.base.embeddings.base import BaseEmbedding
        from llama_index.core.ingestion import IngestionPipeline
        from llama_index.core.schema import TextNode
        from llama_index.core.storage.docstore import SimpleDocumentStore

        model = self.embedder

        class Same(BaseEmbedding):
            def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
                return model.embed(texts).tolist()

            def _get_text_embedding(self, text: str) -> list[float]:
                return self._get_text_embeddings([text])[0]

            _get_query_embedding = _get_text_embedding

            async def _aget_query_embedding(self, query: str) -> list[float]:
                return self._get_text_embedding(query)

        pipeline = IngestionPipeline(transformations=[Same()], docstore=SimpleDocumentStore())
        nodes = [TextNode(text=text, id_=f"{path}#{n}") for path, n, text in self.chunks]
        return len(pipeline.run(nodes=nodes))

    def langchain(self) -> int:
        """LangChain index() with its record manager and vector store, in memory."""
        from langchain_core.documents import Document
        from langchain_core.embeddings import Embeddings
        from langchain_core.indexing import InMemoryRecordManager, index
        from langchain_core.vectorstores import InMemoryVectorStore

        model = self.embedder

        class Same(Embeddings):
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return model.embed(texts).tolist()

            def embed_query(self, text: str) -> list[float]:
                return self.embed_documents([text])[0]

        records = InMemoryRecordManager("bench")
        records.create_schema()
        documents = [
            Document(page_content=text, metadata={"source": f"{path}#{n}"})
            for path, n, text in self.chunks
        ]
        outcome = index(documents, records, InMemoryVectorStore(Same()), key_encoder="sha256")
        return int(outcome["num_added"])


def main() -> None:
    """Run the rounds and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-concurrent", type=int, default=64)
    parser.add_argument("--only", nargs="*", help="leave out the other contestants")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        docs = Path(folder)
        write_documents(docs, args.documents)
        contest = Contest(docs, args.max_concurrent)
        contest.embedder.embed([text for _, _, text in contest.chunks[:64]])  # warm up
        runners: dict[str, Callable[[], int]] = {
            "one_shot": contest.one_shot,
            "engine": contest.engine,
            "llama_index": contest.llama_index,
            "langchain": contest.langchain,
        }
        runners = {name: runners[name] for name in args.only or runners}
        rates: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(args.rounds):
            for name, runner in runners.items():
                started = time.perf_counter()
                count = runner()
                seconds = time.perf_counter() - started
                assert count >= 0.99 * len(contest.chunks), (name, count, len(contest.chunks))
                rates[name].append(count / seconds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    result: dict[str, Any] = {
        "documents": args.documents,
        "chunks": len(contest.chunks),
        "rounds": args.rounds,
        "max_concurrent": args.max_concurrent,
        "chunks_per_second": {name: round(value, 1) for name, value in medians.items()},
        "engine_ratio_to": {
            name: round(medians["engine"] / value, 3)
            for name, value in medians.items()
            if name != "engine"
        },
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
