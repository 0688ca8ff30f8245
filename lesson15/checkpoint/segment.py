"""The segment: the vectors and texts of each document, one checksummed block each, append-only.

A block is a header (magic, CRC-32 of the rest, vector count, dimensions, bytes of text), the
vectors as little-endian float32, then the chunks as a JSON array: each is a string, or, since
schema version 3, ``[text, meta]``. The journal says where each document's block lies and repeats
its checksum, so a block can be checked against its record. In an encrypted batch the whole block is
sealed.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import orjson
from numpy.typing import NDArray

from lesson15.checkpoint.encryption import OVERHEAD, Cipher
from lesson15.checkpoint.filesystem import AppendOnlyFile, FileSystem
from lesson15.errors import CorruptCheckpointError, StateReadError
from lesson15.events import BlockRef
from lesson15.models import Chunk

Vectors = NDArray[np.float32]

_HEADER = struct.Struct("<4sIIII")
_MAGIC = b"L15S"


class SegmentWriter(AppendOnlyFile):
    """The segment, open for appending after byte ``start``."""

    def __init__(
        self, fs: FileSystem, path: Path, start: int, cipher: Cipher | None = None
    ) -> None:
        super().__init__(fs, path, start)
        self._cipher = cipher
        self.overhead = OVERHEAD if cipher is not None else 0

    def append(self, vectors: Vectors, chunks: Sequence[Chunk]) -> BlockRef:
        """Add one document's ``chunks`` and their ``vectors`` (chunks x dimensions)."""
        count, dimensions = vectors.shape
        text = orjson.dumps(
            [[chunk.text, dict(chunk.meta)] if chunk.meta else chunk.text for chunk in chunks]
        )
        body = vectors.astype("<f4", copy=False).tobytes() + text
        sizes = struct.pack("<III", count, dimensions, len(text))
        crc = zlib.crc32(body, zlib.crc32(sizes))
        return self.append_block(
            _HEADER.pack(_MAGIC, crc, count, dimensions, len(text)) + body, crc
        )

    def append_block(self, block: bytes, crc: int) -> BlockRef:
        """Add a block as :meth:`SegmentReader.read_block` returns it."""
        if self._cipher is not None:
            block = self._cipher.seal(block, f"segment:{self.offset}")
        ref = BlockRef(self.offset, len(block), crc)
        self.add(block)
        return ref


class SegmentReader:
    """Reads blocks of a segment; usable as a context manager."""

    def __init__(self, path: Path, cipher: Cipher | None = None) -> None:
        self._path = path
        self._cipher = cipher
        self.overhead = OVERHEAD if cipher is not None else 0
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file if it was opened."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def open(self) -> None:
        """Open the file, which is then readable even if it loses its name.

        Raises:
            CorruptCheckpointError: it is missing.
            StateReadError: the system refused to open it.
        """
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise CorruptCheckpointError(
                path=self._path, detail="the segment is missing"
            ) from error
        except OSError as error:  # which may pass
            raise StateReadError(path=self._path, detail=error) from error

    def read(self, ref: BlockRef) -> tuple[Vectors, list[Chunk]]:
        """The vectors (chunks x dimensions) and chunks of the block at ``ref``.

        Raises:
            CorruptCheckpointError: the block is missing, cut short or fails its checksum.
            StateReadError: the system refused to read it.
        """
        block = self.read_block(ref)
        _, _, count, dimensions, text_bytes = _HEADER.unpack_from(block)
        split = _HEADER.size + 4 * count * dimensions
        if split + text_bytes != len(block):
            raise self._damaged(ref, "has sizes that do not add up")
        vectors = np.frombuffer(block, "<f4", count * dimensions, _HEADER.size)
        chunks = [
            Chunk(item) if isinstance(item, str) else Chunk(*item)
            for item in orjson.loads(block[split:])
        ]
        return vectors.reshape(count, dimensions).astype(np.float32), chunks

    def read_block(self, ref: BlockRef) -> bytes:
        """The bytes of the block at ``ref``, checked; raises as :meth:`read` does."""
        self.open()
        assert self._descriptor is not None  # noqa: S101 - open() has set it
        try:
            block = os.pread(self._descriptor, ref.length, ref.offset)
        except OSError as error:  # which may pass
            raise StateReadError(path=self._path, detail=error) from error
        if len(block) == ref.length and self._cipher is not None:
            block = self._cipher.open(block, f"segment:{ref.offset}", self._path)
        if len(block) != ref.length - self.overhead or len(block) < _HEADER.size:
            raise self._damaged(ref, "is cut short")
        magic, crc, *_ = _HEADER.unpack_from(block)
        if magic != _MAGIC or crc != ref.crc or zlib.crc32(memoryview(block)[8:]) != crc:
            raise self._damaged(ref, "fails its checksum")
        return block

    def _damaged(self, ref: BlockRef, how: str) -> CorruptCheckpointError:
        return CorruptCheckpointError(
            path=self._path, detail=f"the block at byte {ref.offset} {how}"
        )
