"""What splits the sections of a document into chunks: the default, or that of a plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache

import orjson

from lesson15 import plugins
from lesson15.documents.checking import fault_of_meta
from lesson15.documents.chunking import spans
from lesson15.documents.parsed import LoadedDocument, ParseOptions, Section
from lesson15.errors import DocumentTooLargeError, InvalidChunkError, StepError
from lesson15.models import Chunk
from lesson15.plugins import Group

Chunker = Callable[[Section, ParseOptions], Iterable[tuple[int, int]]]
"""Says where the chunks of a section begin and end, as ``(start, end)`` in its text, in order.

Chunks may overlap. It runs in a parser process, which is killed if it hangs.
"""


VERSION = "1"
"""Of the default chunker: to be raised when it begins to split texts in other places."""


def default(section: Section, options: ParseOptions) -> Sequence[tuple[int, int]]:
    """The chunks that fit the model: see :mod:`lesson15.documents.chunking`."""
    return spans(section.text, section.kind, options.chunk_chars, options.chunk_overlap_chars)


BUILT_IN: dict[str, Chunker] = {"default": default}


@cache
def open_chunker(name: str) -> Chunker:
    """The chunker called ``name``.

    Raises:
        UnknownNameError: there is none.
        PluginError: the plugin is broken.
    """
    plugins.check_name(Group.CHUNKERS, name, BUILT_IN)
    return BUILT_IN.get(name) or plugins.make(Group.CHUNKERS, name, BUILT_IN)


def split_document(document: LoadedDocument, path: str, options: ParseOptions) -> list[Chunk]:
    """The chunks of ``document``, whose text is normalised; each with the meta of its section.

    Raises:
        StepError: the chunker raised something.
        InvalidChunkError: the chunker's spans or a loader's meta cannot be used.
        DocumentTooLargeError: the meta of all chunks outgrows the limit of the text.
    """
    chunker = open_chunker(options.chunker)
    source = f"the chunker {options.chunker!r}"
    chunks: list[Chunk] = []
    offset = meta_bytes = 0
    for section in document.sections:
        meta = {"title": document.title} if document.title else {}
        meta.update(section.meta)
        fault = fault_of_meta(meta)
        if fault:
            raise InvalidChunkError(path=path, source="its loader", detail=fault)
        try:
            found = list(chunker(section, options))
        except MemoryError:
            raise
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"
            raise StepError(path=path, step=source, detail=detail) from error
        # A long heading is repeated in every chunk below it.
        meta_bytes += len(orjson.dumps(meta)) * len(found)
        if meta_bytes > options.max_text_chars:
            limit = options.max_text_chars
            raise DocumentTooLargeError(path=path, size=meta_bytes, limit=limit)
        for span in found:
            start, end = _checked(span, section.text, path, source)
            text = section.text[start:end]
            if text.strip():
                chunks.append(Chunk(text, {**meta, "span": [offset + start, offset + end]}))
        offset += len(section.text) + 1  # the newline of LoadedDocument.text
    return chunks


def _checked(span: object, text: str, path: str, source: str) -> tuple[int, int]:
    """``span``, if it lies in ``text``."""
    if isinstance(span, tuple) and len(span) == 2:  # noqa: PLR2004, RUF100 - its two ends
        start, end = span
        if isinstance(start, int) and isinstance(end, int) and 0 <= start <= end <= len(text):
            return start, end
    detail = f"{span!r:.80} instead of (start, end) within {len(text)} characters"
    raise InvalidChunkError(path=path, source=source, detail=detail)
