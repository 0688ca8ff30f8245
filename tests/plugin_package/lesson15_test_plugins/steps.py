"""Two steps: a function, and a class whose objects are asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from lesson15.models import Chunk


def dedupe(chunks: Sequence[Chunk]) -> list[Chunk]:
    """The chunks without those whose words came before."""
    return list({" ".join(chunk.text.split()): chunk for chunk in reversed(chunks)}.values())[::-1]


class Translate:
    """Puts what a slow service makes of each chunk in its place."""

    async def __call__(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        texts = await asyncio.gather(*(self._ask(chunk.text) for chunk in chunks))
        return [
            replace(chunk, text=text, meta={**chunk.meta, "language": "x-upper"})
            for chunk, text in zip(chunks, texts, strict=True)
        ]

    async def _ask(self, text: str) -> str:
        await asyncio.sleep(0)
        return text.upper()
