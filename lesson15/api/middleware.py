"""Around every request: a limit on its body, a line in the log, a place in the metrics."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lesson15.api.problems import problem_response
from lesson15.errors import RequestTooLargeError
from lesson15.logs import get_logger
from lesson15.monitoring.metrics import Metrics

log = get_logger(__name__)
MAX_JSON_BYTES = 8 * 1024 * 1024


class BodyLimit:
    """Refuses bodies over ``max_bytes``, or 8 MiB where no files are uploaded."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        is_upload = request.headers.get("content-type", "").startswith("multipart/")
        limit = self._max_bytes if is_upload else min(self._max_bytes, MAX_JSON_BYTES)
        error = RequestTooLargeError(what="The request", limit=f"{limit} bytes")
        announced = request.headers.get("content-length", "0")
        if announced.isdigit() and int(announced) > limit:
            await _refuse(error, scope, receive, send)
            return
        received = 0

        async def limited() -> Message:  # a chunked body does not say how long it is
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise error
            return message

        async def unless_over(message: Message) -> None:
            if received <= limit:
                await send(message)

        await self._app(scope, limited, unless_over)
        if received > limit:  # the application took the error for one of its own parser
            await _refuse(error, scope, receive, send)


async def _refuse(error: RequestTooLargeError, scope: Scope, receive: Receive, send: Send) -> None:
    response = problem_response(error)
    response.headers["Connection"] = "close"  # or the rest of the body would be read all the same
    await response(scope, receive, send)


class AccessLog:
    """Logs and measures each request, up to the start of its answer: streams stay open."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(scope, message["status"], time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, noting)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")  # never the path: it has no bounds
        self._metrics.requests.labels(scope["method"], route, status).observe(seconds)
        log.info(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            milliseconds=round(seconds * 1000, 1),
            user=scope.get("state", {}).get("user"),
        )
