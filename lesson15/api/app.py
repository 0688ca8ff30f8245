"""The application: everything put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

import lesson15
from lesson15.api import problems
from lesson15.api.access import RateLimits, Service
from lesson15.api.database import Database, database_path
from lesson15.api.jobs import JobStore
from lesson15.api.keys import KeyStore
from lesson15.api.middleware import AccessLog, BodyLimit
from lesson15.api.routes import admin, batches, events, faults, files, operations
from lesson15.api.settings import ServiceSettings
from lesson15.api.supervisor import Supervisor
from lesson15.monitoring.metrics import Metrics
from lesson15.settings import Settings


def create_app(settings: ServiceSettings, engine: Settings) -> FastAPI:
    """The service as an ASGI application; it runs batches between its start-up and shutdown."""
    database = Database(database_path(settings.state_dir))
    metrics = Metrics(settings.state_dir)
    supervisor = Supervisor(settings, engine, JobStore(database), metrics)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await supervisor.start()
        yield
        await supervisor.stop()
        database.close()

    app = FastAPI(
        title="lesson15",
        summary="Batch processing of documents with checkpoint and resume.",
        version=lesson15.__version__,
        lifespan=lifespan,
        responses=problems.documented(400, 413),
    )
    app.state.service = Service(
        settings, KeyStore(database), supervisor, metrics, RateLimits(settings)
    )
    for module in (batches, events, faults, files, admin, operations):
        app.include_router(module.router)
    problems.install(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_request_bytes)
    app.add_middleware(AccessLog, metrics=metrics)
    _correct_schema(app)
    return app


def _correct_schema(app: FastAPI) -> None:
    """FastAPI documents every answer as plain JSON; problems have a media type of their own."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = make()
            for path in schema["paths"].values():
                for operation in path.values():
                    for status, response in operation["responses"].items():
                        if status.startswith(("4", "5")) and "content" in response:
                            content = response["content"]
                            content[problems.MEDIA_TYPE] = content.popitem()[1]
        return app.openapi_schema or make()

    app.openapi = openapi  # type: ignore[method-assign]
