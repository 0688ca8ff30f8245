"""Live progress, by server-sent events and by WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from lesson15.api.access import CurrentService, CurrentUser, Service, authenticate, service_of
from lesson15.api.broadcast import Channel
from lesson15.api.problems import documented, problem_response
from lesson15.api.routes.batches import BatchIdPath
from lesson15.errors import Lesson15Error, TooManyRequestsError

router = APIRouter(prefix="/batch", tags=["events"])
_IDLE_SECONDS = 15.0  # proxies close a stream that is silent for longer
_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["progress", "end"]},
        "data": {
            "type": "string",
            "description": "Of a `progress` event: a `Detail` as JSON.",
            "contentMediaType": "application/json",
        },
    },
}


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"


async def _channel(service: Service, user: str, batch_id: str) -> Channel:
    limit = service.settings.max_listeners_per_user
    if service.supervisor.listeners(user) >= limit:
        raise TooManyRequestsError(what="open streams", limit=limit, seconds=10)
    return await service.supervisor.follow((user, batch_id))


@router.get(
    "/events/{batch_id}",
    response_class=EventStream,
    responses={
        200: {"content": {"text/event-stream": {"schema": _EVENT}}},
        **documented(401, 404, 422, 429),
    },
)
async def events(batch_id: BatchIdPath, user: CurrentUser, service: CurrentService) -> EventStream:
    """Follow a batch: `progress` events with its detail, at once and on each change, at most ten
    a second by default; `end` when it comes to rest. A WebSocket at the same address gets the
    same objects as text messages and is closed at the end.
    """
    channel = await _channel(service, user.name, batch_id)
    return EventStream(_frames(service, channel), headers={"Cache-Control": "no-store"})


async def _frames(service: Service, channel: Channel) -> AsyncIterator[bytes]:
    with service.metrics.listeners.track_inprogress():
        async for message in channel.follow(_IDLE_SECONDS):
            if message is None:
                yield b": still here\n\n"
            else:
                yield b"event: progress\ndata: " + message + b"\n\n"
        yield b"event: end\ndata: {}\n\n"


@router.websocket("/events/{batch_id}")
async def socket(websocket: WebSocket, batch_id: str) -> None:
    """The same as :func:`events` for WebSockets."""
    service = service_of(websocket)
    try:
        user = authenticate(websocket)
        channel = await _channel(service, user.name, batch_id)
    except Lesson15Error as error:
        await websocket.send_denial_response(problem_response(error))
        return
    await websocket.accept()
    sender = asyncio.create_task(_send(websocket, service, channel))
    receiver = asyncio.create_task(_await_end(websocket))
    _, pending = await asyncio.wait({sender, receiver}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(sender, receiver, return_exceptions=True)


async def _send(websocket: WebSocket, service: Service, channel: Channel) -> None:
    with service.metrics.listeners.track_inprogress():
        async for message in channel.follow(_IDLE_SECONDS):
            if message is not None:
                await websocket.send_text(message.decode())
    await websocket.close()


async def _await_end(websocket: WebSocket) -> None:
    """Return when the client goes; what it says is passed over."""
    try:
        while True:
            await websocket.receive()
    except (WebSocketDisconnect, RuntimeError):
        return
