"""Every error answer has one form: a problem document (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route

from lesson15 import errors
from lesson15.api.models import Problem
from lesson15.errors import Lesson15Error, StorageError, TooManyRequestsError
from lesson15.logs import get_logger

log = get_logger(__name__)
MEDIA_TYPE = "application/problem+json"
_STATUS: dict[type[Lesson15Error], int] = {
    errors.AuthenticationError: 401,
    errors.RoleError: 403,
    errors.FaultsNotAllowedError: 403,
    errors.PathNotAllowedError: 403,
    errors.OwnBatchNotFoundError: 404,
    errors.OwnFileNotFoundError: 404,
    errors.KeyNotFoundError: 404,
    errors.DocumentPathError: 404,
    errors.NoDocumentsError: 404,
    errors.BatchStateError: 409,
    errors.BatchLockedError: 409,
    errors.RequestTooLargeError: 413,
    errors.TooManyRequestsError: 429,
    errors.UsageError: 422,
}


class ProblemResponse(JSONResponse):
    """A problem document."""

    media_type = MEDIA_TYPE


def problem_response(error: Exception) -> ProblemResponse:
    """The answer that tells a client of ``error``, without the server's own business."""
    if isinstance(error, HTTPException):
        return _problem(error.status_code, "about:blank", error.detail, dict(error.headers or {}))
    if isinstance(error, RequestValidationError):
        faults = [{"loc": list(fault["loc"]), "msg": fault["msg"]} for fault in error.errors()]
        text = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
        return _problem(422, "about:blank", text, {}, faults)
    for kind in type(error).__mro__:
        if kind in _STATUS:
            headers = {}
            if _STATUS[kind] == HTTPStatus.UNAUTHORIZED:
                headers["WWW-Authenticate"] = "Bearer"
            if isinstance(error, TooManyRequestsError):
                headers["Retry-After"] = str(error.fields["seconds"])
            return _problem(
                _STATUS[kind], f"urn:lesson15:{type(error).__name__}", str(error), headers
            )
    log.error("a request failed", exc_info=error)
    status = 503 if isinstance(error, StorageError) else 500
    return _problem(status, "about:blank", "The server is at fault; its log says more.", {})


def _problem(
    status: int,
    kind: str,
    detail: str,
    headers: dict[str, str],
    faults: list[dict[str, Any]] | None = None,
) -> ProblemResponse:
    title = HTTPStatus(status).phrase
    problem = Problem(type=kind, title=title, status=status, detail=detail, errors=faults)
    return ProblemResponse(problem.model_dump(exclude_none=True), status, headers)


async def _answer(request: Request, error: Exception) -> Response:
    response = problem_response(error)
    if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Starlette names the methods of the first route at this path, not of all of them.
        routes: list[BaseRoute] = request.app.routes
        allowed: set[str] = set()
        for route in routes:
            if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
                allowed |= route.methods or set()
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def install(app: FastAPI) -> None:
    """Have ``app`` answer every error with a problem document."""
    for kind in (HTTPException, RequestValidationError, Lesson15Error, Exception):
        app.add_exception_handler(kind, _answer)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The entries of OpenAPI's ``responses`` for the error answers ``statuses``."""
    return {
        status: {"model": Problem, "description": HTTPStatus(status).phrase} for status in statuses
    }
