"""Making a batch fail on purpose, for courses: one's own, if the server allows it."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from lesson15.api.access import CurrentService, Instructor, Service
from lesson15.api.keys import User
from lesson15.api.models import Done, Faults
from lesson15.api.problems import documented
from lesson15.api.routes.batches import BatchIdPath
from lesson15.errors import FaultsNotAllowedError
from lesson15.faults import FaultControl, FaultPlan

router = APIRouter(prefix="/batch", tags=["faults"], responses=documented(401, 403, 404, 422, 429))


async def _control(service: Service, user: User, batch_id: str) -> FaultControl:
    if not service.settings.allow_faults:
        raise FaultsNotAllowedError
    await service.supervisor.detail((user.name, batch_id))  # it must be there
    return FaultControl(service.folder(user).batches, batch_id)


@router.get("/faults/{batch_id}")
async def show_faults(batch_id: BatchIdPath, user: Instructor, service: CurrentService) -> Faults:
    """The fault plan in force, and how often each fault struck."""
    control = await _control(service, user, batch_id)
    plan, fired = await asyncio.to_thread(lambda: (control.plan, control.fired))
    return Faults(batch_id=batch_id, plan=plan, fired=fired)


@router.put("/faults/{batch_id}")
async def set_faults(
    batch_id: BatchIdPath, plan: FaultPlan, user: Instructor, service: CurrentService
) -> Done:
    """Put a fault plan in force; a batch that runs obeys at once."""
    control = await _control(service, user, batch_id)
    await asyncio.to_thread(control.set, plan)
    return Done(message=f"{len(plan.rules)} fault rules are in force.", batch_id=batch_id)


@router.delete("/faults/{batch_id}")
async def clear_faults(batch_id: BatchIdPath, user: Instructor, service: CurrentService) -> Done:
    """Let no more faults strike, and let go what hangs."""
    control = await _control(service, user, batch_id)
    await asyncio.to_thread(control.clear)
    return Done(message="No faults are in force.", batch_id=batch_id)
