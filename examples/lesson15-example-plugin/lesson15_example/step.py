"""A step that leaves out repetitions, such as the header of every page."""

from __future__ import annotations

from collections.abc import Sequence

from lesson15.models import Chunk


def unique(chunks: Sequence[Chunk]) -> list[Chunk]:
    """The chunks whose words did not come before in the document."""
    first: dict[str, Chunk] = {}
    for chunk in chunks:
        first.setdefault(" ".join(chunk.text.split()), chunk)
    return list(first.values())
