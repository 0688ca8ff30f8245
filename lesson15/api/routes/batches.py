"""Batches: start, watch, stop, go on, search."""

from __future__ import annotations

import asyncio
import pathlib
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from lesson15.api.access import CurrentService, CurrentUser
from lesson15.api.jobs import Job, JobKind
from lesson15.api.models import (
    BATCH_ID_PATTERN,
    Accepted,
    Active,
    Batches,
    Detail,
    Done,
    Failures,
    ProcessRequest,
    ResumeRequest,
    SearchResult,
    Status,
)
from lesson15.api.problems import documented
from lesson15.api.search import search_batch
from lesson15.checkpoint.layout import new_batch_id
from lesson15.engine.batch import Batch
from lesson15.errors import BatchNotFoundError
from lesson15.models import Failure

router = APIRouter(prefix="/batch", tags=["batches"], responses=documented(401, 422, 429))
BatchIdPath = Annotated[str, Path(pattern=BATCH_ID_PATTERN, examples=["monday"])]


@router.post("/process", responses=documented(403, 404, 409))
async def process(body: ProcessRequest, user: CurrentUser, service: CurrentService) -> Accepted:
    """Start a batch. It is safe from a crash of the server once this has been answered."""
    paths, total = await asyncio.to_thread(service.roots(user).resolve_all, body.doc_paths)
    batch_id = body.batch_id or new_batch_id()
    await service.supervisor.submit(Job(user.name, batch_id, paths, total))
    return Accepted(message="The batch is in the queue.", batch_id=batch_id, total_files=total)


@router.post("/resume/{batch_id}", responses=documented(403, 404, 409))
async def resume(
    batch_id: BatchIdPath,
    user: CurrentUser,
    service: CurrentService,
    body: ResumeRequest | None = None,
) -> Done:
    """Go on with a batch: changed documents are done again, vanished ones leave the index."""
    source = None
    if body is not None and body.doc_paths is not None:
        source = await asyncio.to_thread(service.roots(user).resolve_all, body.doc_paths)
    await service.supervisor.resume((user.name, batch_id), JobKind.PROCESS, source)
    return Done(message="The batch goes on.", batch_id=batch_id)


@router.post("/retry-failed/{batch_id}", responses=documented(404, 409))
async def retry_failed(batch_id: BatchIdPath, user: CurrentUser, service: CurrentService) -> Done:
    """Work on the dead-letter list of a batch again, and on nothing else."""
    await service.supervisor.resume((user.name, batch_id), JobKind.RETRY, None)
    return Done(message="The failed documents are tried again.", batch_id=batch_id)


@router.post("/pause/{batch_id}", responses=documented(404, 409))
async def pause(batch_id: BatchIdPath, user: CurrentUser, service: CurrentService) -> Done:
    """Stop working on a batch until it is unpaused; a restart of the server changes nothing."""
    await service.supervisor.pause((user.name, batch_id))
    return Done(message="The batch pauses after the documents in work.", batch_id=batch_id)


@router.post("/unpause/{batch_id}", responses=documented(404, 409))
async def unpause(batch_id: BatchIdPath, user: CurrentUser, service: CurrentService) -> Done:
    """Go on with a paused batch."""
    await service.supervisor.unpause((user.name, batch_id))
    return Done(message="The batch goes on.", batch_id=batch_id)


@router.post("/cancel/{batch_id}", responses=documented(404, 409))
async def cancel(batch_id: BatchIdPath, user: CurrentUser, service: CurrentService) -> Done:
    """Stop working on a batch; its checkpoint stays, and it can be resumed."""
    await service.supervisor.cancel((user.name, batch_id))
    return Done(message="The batch is cancelled.", batch_id=batch_id)


@router.get("/status/{batch_id}", responses=documented(404))
async def status(batch_id: BatchIdPath, user: CurrentUser, service: CurrentService) -> Status:
    """How far a batch is."""
    return Status(**await service.supervisor.detail((user.name, batch_id)))


@router.get("/detail/{batch_id}", responses=documented(404))
async def detail(batch_id: BatchIdPath, user: CurrentUser, service: CurrentService) -> Detail:
    """All about a batch."""
    return Detail(**await service.supervisor.detail((user.name, batch_id)))


@router.get("/active")
async def active(user: CurrentUser, service: CurrentService) -> Active:
    """The batches that are queued or running."""
    found = service.supervisor.active(user.name)
    return Active(active_batches=found, total_count=len(found))


@router.get("/list")
async def list_batches(user: CurrentUser, service: CurrentService) -> Batches:
    """All batches, oldest first."""
    found = [Detail(**view) for view in await service.supervisor.details(user.name)]
    return Batches(batches=found, total_count=len(found))


@router.get("/failures/{batch_id}", responses=documented(404, 503))
async def failures(
    batch_id: BatchIdPath,
    user: CurrentUser,
    service: CurrentService,
    offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Failures:
    """The dead-letter list: documents that failed or were skipped, by document id."""
    view = await service.supervisor.detail((user.name, batch_id))
    folder = service.folder(user)
    found = await asyncio.to_thread(_failures, folder.batches, batch_id, offset, limit)
    home = f"{folder.files}/"  # where the server keeps things is none of the user's business
    entries: list[dict[str, Any]] = [
        {"doc_id": f.doc_id, "error": f.error.replace(home, ""), "attempts": f.attempts}
        for f in found
    ]
    total = view["failed_docs"] + view["skipped_docs"]
    return Failures.model_validate(
        {"batch_id": batch_id, "failures": entries, "total_count": total}
    )


@router.get("/search/{batch_id}", responses=documented(404, 409, 503))
async def search(
    batch_id: BatchIdPath,
    user: CurrentUser,
    service: CurrentService,
    q: Annotated[
        str, Query(min_length=1, max_length=2000, pattern=r"\S", examples=["bee keeping"])
    ],
    k: Annotated[int, Query(ge=1, le=100)] = 5,
) -> SearchResult:
    """The chunks nearest in meaning to a text, in a batch that may still be running."""
    view = await service.supervisor.detail((user.name, batch_id))
    hits = await asyncio.to_thread(
        search_batch, service.folder(user).batches, batch_id, view["status"], q, k
    )
    return SearchResult.model_validate(
        {"query": q, "batch_id": batch_id, "hits": hits}, from_attributes=True
    )


def _failures(state_dir: pathlib.Path, batch_id: str, offset: int, limit: int) -> list[Failure]:
    try:
        with Batch.open(state_dir, batch_id) as batch:
            return batch.failures(offset, limit)
    except BatchNotFoundError:  # it has not begun yet
        return []
