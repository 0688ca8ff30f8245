"""Doing a whole batch again, with another model, chunker or steps, and switching to it at once.

The new batch is made by the ordinary engine as a later generation in the folder of the old one,
with a checkpoint of its own. The old one is not touched, and answers searches, until the new one is
whole; then the checkpoint of the batch, replaced in one step, names the new generation. Killed at
any moment the batch is the old or the new. What an interrupted call has done is gone on with by the
next one, if that asks for the same; if not, it is thrown away, and begun anew.

Done again are the documents of the sources, and those that the batch has besides. Those whose files
are gone for certain leave it, as in a resume. One that the old batch has and that cannot be done
again keeps the batch from switching, unless ``prune`` allows it; it is then on the dead-letter
list.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesson15.checkpoint.filesystem import FileSystem
from lesson15.checkpoint.layout import BatchFolder, batch_lock
from lesson15.checkpoint.manager import StagedManager
from lesson15.checkpoint.state_files import Manifest
from lesson15.checkpoint.stored_batch import StoredBatch
from lesson15.embedding import Embedder, open_embedder
from lesson15.embedding.asking import ask
from lesson15.engine.feed import STANDARD_INPUT, Naming, SourcePaths, roots_of
from lesson15.engine.provenance import check_model
from lesson15.engine.recipe import PARTS
from lesson15.engine.sources import Sources
from lesson15.engine.transcript import remove_folder, sweep
from lesson15.errors import (
    CheckpointWriteError,
    CorruptCheckpointError,
    Lesson15Error,
    OtherModelError,
    ReembedIncompleteError,
    StorageError,
)
from lesson15.logs import get_logger
from lesson15.models import BatchStatus, DocStatus
from lesson15.stores import check_encryptable
from lesson15.stores.catalog import Catalog
from lesson15.threads import to_the_end

if TYPE_CHECKING:
    from lesson15.engine.processor import BatchProcessor

log = get_logger(__name__)
_SLICE = 256
_MOST_NAMED = 5
_COMPARED = (*PARTS, "dimensions", "sources", "base_dir", "scan", "versions")


async def reembed(
    processor: BatchProcessor, batch_id: str, *, prune: bool = False
) -> dict[str, Any]:
    """Do all of ``batch_id`` again with the engine of ``processor``, and switch to it.

    What the processor was given expressly (embedder, store, chunker, steps, size of chunks), by
    arguments, settings or the environment, takes the place of what the batch was made with; the
    rest stays. What is new is encrypted with the current key.

    Returns:
        The report of the new batch; if its status is not "finished", the old one stays in force,
        and the next call goes on.

    Raises:
        UsageError: the batch is unknown, locked, or being worked on by workers.
        SourcesMissingError: documents may be lost that are only out of sight.
        ReembedIncompleteError: documents could not be done again, and may not be pruned.
        StorageError: the system is at fault; the old batch stays in force, and the next call goes
            on.
    """
    manager = processor.checkpoint_manager
    folder = manager.folder_at_rest(batch_id, "--reembed, which works on this machine alone")
    with batch_lock(folder):
        batch = await to_the_end(manager.open, batch_id)
        catalog = await to_the_end(Catalog.recover, batch, discard=Catalog.close)
        with closing(catalog):
            again = _Reembedding(processor, batch, catalog, prune=prune)
            report = await again.run()
        if report["status"] == BatchStatus.FINISHED:
            await to_the_end(again.switch)
    return report


class _Reembedding:
    """One call of :func:`reembed`, on ``batch``, which is locked, and its ``catalog``."""

    def __init__(
        self, processor: BatchProcessor, batch: StoredBatch, catalog: Catalog, *, prune: bool
    ) -> None:
        self._processor = processor
        self._manager = processor.checkpoint_manager
        self._old = batch
        self._catalog = catalog
        self._prune = prune
        self._sources = Sources(
            batch.batch_id,
            Naming(batch.manifest.base_dir),
            roots_of(batch.manifest, None),
            reads_files=processor.reads_files,
            prune=prune,
        )
        self._staged: StagedManager | None = None

    async def run(self) -> dict[str, Any]:
        """Make the new batch, or go on with it; its report."""
        await to_the_end(self._sources.check, self._catalog)
        wanted = await to_the_end(self._processor.recipe.again, self._old.manifest)
        if self._manager.keyring.current is not None:
            check_encryptable(wanted.store)
        self._staged = await to_the_end(self._begun, wanted)
        try:
            if self._staged is not None:
                report = await self._work(self._staged)
            else:
                report = await self._work_anew(wanted)
        except (CorruptCheckpointError, OtherModelError):
            if self._staged is None:
                raise
            log.warning("what was re-embedded before cannot be used: it is begun anew")
            report = await self._work_anew(wanted)
        if report["status"] == BatchStatus.FINISHED:
            await to_the_end(self._check_nothing_is_lost)
            if report["run"] is not None:
                await to_the_end(self._compare, report["run"])
        return report

    def _compare(self, run: dict[str, Any]) -> None:
        """Count in ``run`` by what the batch had before, not by what its new generation had."""
        made = run["new"] + run["updated"]
        with closing(self._new_catalog()) as catalog:
            run["new"] = _count_missing(catalog, self._catalog, "status = 'done'")
            run["dropped"] = _count_missing(self._catalog, catalog)
        run["updated"] = max(0, made - run["new"])

    def _new_catalog(self) -> Catalog:
        assert self._staged is not None  # noqa: S101 - it is finished
        return Catalog.recover(self._staged.open(self._old.batch_id))

    async def _work_anew(self, wanted: Manifest) -> dict[str, Any]:
        self._staged = None  # what fails now was not begun before
        staged = await to_the_end(self._begin, wanted)
        report = await self._work(staged)
        self._staged = staged
        return report

    async def _work(self, staged: StagedManager) -> dict[str, Any]:
        manifest, batch_id = self._old.manifest, self._old.batch_id
        before = await to_the_end(staged.open, batch_id)
        if before.state.status is BatchStatus.FINISHED:  # perhaps what failed can be done now
            await self._processor.work_on(staged, batch_id, None)
        paths = _Documents(manifest, self._catalog, self._sources, prune=self._prune)
        return await self._processor.work_on(staged, batch_id, paths)

    # --- the new generation -------------------------------------------------------------------

    def _begun(self, wanted: Manifest) -> StagedManager | None:
        """What an interrupted call has made, if it is what is ``wanted``."""
        for number in reversed(self._old.folder.unfinished()):
            staged = self._manager.staged(self._old.batch_id, number)
            with suppress(Lesson15Error):
                found = staged.open(self._old.batch_id).manifest
                if _differences(found, wanted):
                    continue
                if not self._is_of_this_model(found):
                    continue
                log.info("re-embedding goes on", batch_id=found.batch_id, generation=number)
                return staged
        return None

    def _is_of_this_model(self, manifest: Manifest) -> bool:
        """Whether the embedder is that of ``manifest``; trouble of a service is no evidence."""
        if manifest.identity is None or not self._processor.makes_vectors:
            return True
        given = self._processor.recipe.embedder
        embedder: Embedder = (
            open_embedder(manifest.embedder, manifest.dimensions)
            if given is None or isinstance(given, str)
            else given
        )
        try:
            check_model(embedder, manifest, lambda: None, ask)
        except OtherModelError:
            return False
        except Lesson15Error as error:
            log.info("the embedder does not say now which model it is", error=str(error))
        return True

    def _begin(self, wanted: Manifest) -> StagedManager:
        """Make the new batch, empty, in place of what was begun before."""
        folder = self._old.folder
        for number in folder.unfinished():
            _discard(self._manager.fs, folder.at(number))
        staged = self._manager.staged(wanted.batch_id, folder.generation + 1)
        staged.create(wanted, self._old.state.total_docs)
        log.info(
            "re-embedding begins",
            batch_id=wanted.batch_id,
            changes=_differences(self._old.manifest, wanted),
        )
        return staged

    def _check_nothing_is_lost(self) -> None:
        """Check that every document that can be found now can be found in the new batch.

        Raises:
            SourcesMissingError, ReembedIncompleteError: it cannot.
        """
        self._sources.check(self._catalog)
        if self._prune:
            return
        count, names = 0, []
        done = self._catalog.scan("status = 'done'")
        with closing(self._new_catalog()) as catalog:
            while part := list(islice(done, _SLICE)):
                found = catalog.lookup([verdict.doc_id for verdict in part])
                for verdict in part:
                    new = found.get(verdict.doc_id)
                    if new is not None and new.status is DocStatus.DONE:
                        continue
                    if not self._sources.is_to_go(verdict):
                        count += 1
                        names.append(verdict.doc_id)
                        del names[_MOST_NAMED:]
        if count:
            listed = ", ".join(names) + (", ..." if count > len(names) else "")
            raise ReembedIncompleteError(batch_id=self._old.batch_id, count=count, names=listed)

    def switch(self) -> None:
        """Let the new generation count, and remove the old one.

        Raises:
            StorageError: the system refused; the old one stays in force.
        """
        assert self._staged is not None  # noqa: S101 - it is finished
        batch_id = self._old.batch_id
        new = self._staged.open(batch_id)
        root = new.folder.root
        generation = int(root.name.rpartition("-")[2])
        commit = new.commit.model_copy(update={"generation": generation})
        switched = self._manager.write(new.state, commit)
        try:
            for path in (new.folder.checkpoint, new.folder.lock, new.folder.owner):
                path.unlink(missing_ok=True)
            sweep(switched.folder)
        except (OSError, StorageError) as error:
            log.warning("files of the former generation could not be removed", error=str(error))


class _Documents:
    """What is to be done again: the sources, and what else the batch has; iterated in a thread."""

    def __init__(
        self, manifest: Manifest, catalog: Catalog, sources: Sources, *, prune: bool
    ) -> None:
        self._manifest = manifest
        self._catalog = catalog
        self._sources = sources
        self._prune = prune

    def __iter__(self) -> Iterator[str | os.PathLike[str]]:
        manifest = self._manifest
        naming = Naming(manifest.base_dir)
        named = [naming.path(source) for source in manifest.sources or []]
        reads_list = manifest.scan.files_from != STANDARD_INPUT
        for path in SourcePaths.of(named, manifest, reads_list=reads_list):
            # What is missing is left to the judgement below, if it is known.
            is_there = not self._sources.reads_files or os.path.lexists(path)
            if is_there or not (self._prune or self._catalog.lookup([naming.doc_id(path)])):
                yield path
        for verdict in self._catalog.scan():
            if not self._sources.is_to_go(verdict):
                yield naming.path(verdict.doc_id)


def _count_missing(catalog: Catalog, other: Catalog, where: str = "1") -> int:
    """How many documents of ``catalog`` the ``other`` one does not have."""
    documents = catalog.scan(where)
    count = 0
    while part := [verdict.doc_id for verdict in islice(documents, _SLICE)]:
        count += len(part) - len(other.lookup(part))
    return count


def _differences(one: Manifest, other: Manifest) -> dict[str, str]:
    """The fields that decide what documents come to, and differ."""
    return {
        name: f"{getattr(one, name)} -> {getattr(other, name)}"
        for name in _COMPARED
        if getattr(one, name) != getattr(other, name)
    }


def _discard(fs: FileSystem, folder: BatchFolder) -> None:
    """Remove a generation that does not count, its checkpoint first: the rest is no batch then.

    Raises:
        CheckpointWriteError: the system refused.
    """
    try:
        Path(folder.data, folder.checkpoint.name).unlink(missing_ok=True)
        fs.fsync_folder(folder.data)
        remove_folder(folder.data)
    except OSError as error:
        raise CheckpointWriteError(path=folder.data, detail=error) from error
