"""The stages of a run: look at the sources, count, work off, drop what is gone, finish, report."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from lesson15.documents.scan import Scan
from lesson15.engine.feed import Naming, SourcePaths
from lesson15.engine.observers import Observers
from lesson15.engine.run import BatchRun, Tally
from lesson15.engine.sources import Sources, Survey, drop_what_is_gone
from lesson15.logs import get_logger
from lesson15.models import BatchReport, BatchStatus
from lesson15.recovery import classify
from lesson15.stores.catalog import IN_TROUBLE, Catalog

log = get_logger(__name__)


def paths_of(
    source: SourcePaths | None,
    sources: Sources,
    naming: Naming,
    catalog: Catalog,
    only: Sequence[str] | None,
) -> Iterable[Any]:
    """What the feed is to read: the documents of ``source``, the ids ``only``, or the dead-letter
    list.
    """
    if only is not None:
        return map(naming.path, only)
    if source is None:
        return (naming.path(event.doc_id) for event in catalog.scan(IN_TROUBLE))
    return Scan(source, source.rules) if sources.reads_files else source


async def carry_out(
    run: BatchRun,
    observers: Observers,
    source: SourcePaths | None,
    paths: Iterable[Any],
    sources: Sources,
    tally: Tally,
    *,
    is_new: bool,
) -> BatchReport:
    """Do all of ``run``, whose feed reads ``paths``, the documents of ``source``.

    Raises:
        SourcesMissingError: documents may be out of sight only; nothing has been changed.
        StorageError: the system is at fault; what was committed stays.
    """
    writer, status_before, is_retry = run.writer, run.writer.state.status, source is None
    survey = Survey()
    if not is_new:  # before anything is changed
        survey = await writer.in_thread(lambda: sources.check(writer.catalog, is_retry=is_retry))
    async with AsyncExitStack() as stack:
        if source is not None and source.is_countable and sources.reads_files:
            counter = asyncio.create_task(_count(source, run))
            stack.callback(counter.cancel)
        try:
            if is_retry and survey.removable:  # a file that is gone has not failed again
                await drop_what_is_gone(sources, writer, observers, tally.summary, is_retry=True)
            await run.work_off()
            if run.is_cancelled:
                await run.finish(BatchStatus.CANCELLED)
            else:
                if not is_retry and survey.removable:
                    unlisted = sources.ids_of(paths.unlisted if isinstance(paths, Scan) else ())
                    await drop_what_is_gone(
                        sources, writer, observers, tally.summary, unlisted, is_retry=False
                    )
                keeps = is_retry and status_before is not BatchStatus.FINISHED
                await run.finish(status_before if keeps else BatchStatus.FINISHED)
        except asyncio.CancelledError:
            await run.finish(BatchStatus.CANCELLED)
            raise
        except Exception as error:
            log.error(  # noqa: TRY400 - the caller gets the exception; the log gets one line
                "batch aborted",
                policy=classify(error).name,
                error=str(error),
            )
            raise
    summary = tally.close(survey.hidden, paths.unsupported if isinstance(paths, Scan) else {})
    failures = await writer.in_thread(writer.catalog.failures)
    return BatchReport.of(writer.state, writer.state.status, failures, run=summary)


async def _count(source: SourcePaths, run: BatchRun) -> None:
    """Count the source in a thread, for percentages and ETA."""
    run.note_total(await asyncio.to_thread(source.count))
