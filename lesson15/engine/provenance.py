"""Which model made the vectors of a batch: checked whenever the model is opened.

Vectors of two models say nothing to each other, so a batch must not go on with other weights, nor
be searched with them, though they have the same name. What decides is how the model embeds a fixed
text: the probe, which the manifest has since the model was opened for the first time. Weights whose
hash differs, and that embed alike, are the same model, saved again.

A manifest from before schema version 4 has no probe, nor has that of a batch whose work is not
lesson15's own. Then a chunk that is in the batch is embedded again, and must come to its vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from lesson15.checkpoint.filesystem import FileSystem
from lesson15.checkpoint.segment import SegmentReader, Vectors
from lesson15.checkpoint.state_files import Manifest, ModelIdentity, replace_manifest
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.embedding import Embedder, identity_of, same_model
from lesson15.embedding.asking import call_in_thread
from lesson15.embedding.breaker import refusal
from lesson15.embedding.identity import PROBE, distance, packed, rounded, unpacked
from lesson15.engine.index import read_newest
from lesson15.engine.versions import changed, versions_of
from lesson15.errors import CorruptCheckpointError, EmbeddingModelError, OtherModelError
from lesson15.events import Event, PartsChanged, now
from lesson15.logs import get_logger
from lesson15.recovery import classify
from lesson15.stores.catalog import Catalog

log = get_logger(__name__)
Call = Callable[[Embedder, Sequence[str]], Vectors]
"""Makes one call of an embedder, perhaps again."""


@dataclass(frozen=True, slots=True)
class Example:
    """A chunk of a batch, and the vector (dimensions) that the batch has of it."""

    text: str
    vector: Vectors


def example_of(catalog: Catalog, blocks: SegmentReader) -> Example | None:
    """One of the newest chunks of a batch, None if none can be read."""
    with suppress(CorruptCheckpointError):
        if (found := read_newest(catalog, blocks)) is not None:
            vectors, chunks = found
            return Example(chunks[0].text, vectors[0])
    return None


def check_model(
    embedder: Embedder,
    manifest: Manifest,
    example: Callable[[], Example | None],
    call: Call,
) -> list[float]:
    """Check that ``embedder`` is the model that the batch of ``manifest`` was made with.

    Args:
        embedder: what is to go on with the batch, or to search it.
        manifest: of the batch.
        example: finds a chunk of it, for a manifest that does not know its model.
        call: makes a call of ``embedder``.

    Returns:
        The vector of the probe.

    Raises:
        OtherModelError: it is another model.
        Exception: what ``call`` raises.
    """
    probe = rounded(call(embedder, [PROBE])[0])
    known = manifest.identity
    if known is not None:
        _check_same(unpacked(known.probe), probe, embedder, manifest, "the probe text")
    elif (sample := example()) is not None:
        vector = call(embedder, [sample.text])[0]
        _check_same(sample.vector, vector, embedder, manifest, "a chunk of the batch")
    return probe


def identified(embedder: Embedder, probe: list[float], dimensions: int) -> ModelIdentity | None:
    """What ``embedder``, which makes ``probe``, is; None if that is no vector of ``dimensions``.

    Raises:
        EmbeddingModelError: the files of the model cannot be read.
    """
    norm = np.linalg.norm(probe)
    if len(probe) != dimensions or not np.isfinite(norm) or not norm:
        return None
    try:
        said = identity_of(embedder)
    except OSError as error:
        raise EmbeddingModelError(model=embedder.name, detail=error) from error
    return ModelIdentity(
        probe=packed(probe), sha256=said.get("sha256"), revision=said.get("revision")
    )


def _check_same(
    stored: Sequence[float] | Vectors,
    found: Sequence[float] | Vectors,
    embedder: Embedder,
    manifest: Manifest,
    what: str,
) -> None:
    if same_model(list(stored), list(found)):
        return
    detail = f"it embeds {what} at a cosine distance of {distance(list(stored), list(found)):.2g}"
    if len(stored) != len(found):
        detail = f"vectors of {len(found)} numbers instead of {len(stored)}"
    raise OtherModelError(batch_id=manifest.batch_id, model=embedder.name, detail=detail)


class Provenance:
    """Checks the model of ``batch`` when a run opens it, before it makes a vector.

    What the manifest does not know yet, or what is newer than it says, is put on record then: a run
    that opens no model leaves it as it is.

    Args:
        batch: the batch, locked.
        catalog: of it, as of its last commit; used before there are new ones.
        fs: what is written goes through it.
        note: puts an event on record; called in the thread that opens the model.
    """

    def __init__(
        self, batch: StoredBatch, catalog: Catalog, fs: FileSystem, note: Callable[[Event], None]
    ) -> None:
        self._batch = batch
        self._fs = fs
        self._note = note
        self._manifest = batch.manifest
        self._example: Example | None = None
        if self._manifest.identity is None and batch.commit.next_row:
            with batch.blocks() as blocks:
                self._example = example_of(catalog, blocks)

    def check(self, embedder: Embedder) -> None:
        """Check ``embedder``; called in a thread, each time that it is opened.

        Raises:
            OtherModelError, EmbeddingModelError: as :func:`check_model`.
            CheckpointWriteError: the system refused.
            Exception: passing trouble of the embedder, as it raises it.
        """
        manifest = self._manifest
        try:
            probe = check_model(embedder, manifest, lambda: self._example, call_in_thread)
        except Exception as error:
            if isinstance(error, EmbeddingModelError) or classify(error).is_transient:
                raise
            if manifest.identity is not None or self._example is not None:
                raise refusal(embedder.name, error) from error
            return  # nothing can be compared yet: the calls to come show whether it works
        self._record(manifest, identified(embedder, probe, manifest.dimensions))

    def _record(self, manifest: Manifest, identity: ModelIdentity | None) -> None:
        versions = versions_of(manifest)
        changes = changed(manifest.versions, versions)
        known = manifest.identity
        if known is not None and identity is not None:
            for name in ("sha256", "revision"):
                before, after = getattr(known, name), getattr(identity, name)
                if before and after and before != after:
                    changes[f"{name} of the model"] = [before, after]
        if known is not None and identity is not None:  # the probe stays, lest the model drift
            said = {name: value for name, value in identity if name != "probe" and value}
            identity = known.model_copy(update=said)
        update = {"identity": identity or known, "versions": {**manifest.versions, **versions}}
        is_needed = changes or not manifest.versions or (known is None and identity is not None)
        if not is_needed:
            return
        new = manifest.model_copy(update=update)
        batch = self._batch
        replace_manifest(self._fs, batch.folder, new, batch.keyring, batch.commit.encryption)
        self._manifest = new
        if changes:
            log.warning(
                "the batch goes on with other versions than it was made with; `lesson15 resume "
                "--reembed` does everything again with the new ones",
                batch_id=manifest.batch_id,
                changes={part: " -> ".join(pair) for part, pair in changes.items()},
            )
            self._note(PartsChanged(changes, now()))
