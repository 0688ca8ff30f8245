"""API keys, for admins."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path

from lesson15.api.access import Admin, CurrentService
from lesson15.api.keys import KEY_ID_PATTERN
from lesson15.api.models import Key, KeyRequest, Keys, NewKey
from lesson15.api.problems import documented

router = APIRouter(prefix="/admin", tags=["admin"], responses=documented(401, 403, 422, 429))


@router.get("/keys")
async def list_keys(_user: Admin, service: CurrentService) -> Keys:
    """All keys ever made, without their secrets."""
    found = await asyncio.to_thread(service.keys.list)
    return Keys(keys=[Key(**asdict(info)) for info in found])


@router.post("/keys", status_code=201)
async def add_key(body: KeyRequest, _user: Admin, service: CurrentService) -> NewKey:
    """Make a key. The answer is the only time that it is shown."""
    key, info = await asyncio.to_thread(service.keys.add, body.user, body.role)
    return NewKey(key=key, **asdict(info))


@router.delete("/keys/{key_id}", status_code=204, responses=documented(404))
async def revoke_key(
    key_id: Annotated[str, Path(pattern=KEY_ID_PATTERN, examples=["0123456789ab"])],
    _user: Admin,
    service: CurrentService,
) -> None:
    """Make a key invalid, from the next request on."""
    await asyncio.to_thread(service.keys.revoke, key_id)
