"""What operators look at: health and metrics."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

import lesson15
from lesson15.api.access import CurrentService, Instructor
from lesson15.api.models import Health
from lesson15.api.problems import documented

router = APIRouter(tags=["operations"])


class Exposition(PlainTextResponse):
    """Metrics in Prometheus's text format."""

    media_type = CONTENT_TYPE_LATEST


@router.get("/healthz")
async def healthz() -> Health:
    """Whether the server answers; needs no key."""
    return Health(status="ok", version=lesson15.__version__)


@router.get(
    "/metrics",
    response_class=Exposition,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **documented(401, 403, 429),
    },
)
def metrics(_user: Instructor, service: CurrentService) -> Exposition:
    """Metrics for Prometheus, which can send a key with `authorization: credentials_file`."""
    for state, count in service.supervisor.counts().items():
        service.metrics.batches.labels(state).set(count)
    return Exposition(generate_latest(service.metrics.registry))
