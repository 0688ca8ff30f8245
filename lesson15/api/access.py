"""Who is asking, whether they may, and whether they ask too often."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import HTTPConnection

from lesson15.api.folders import AllowedRoots, UserFolder
from lesson15.api.keys import KeyStore, Role, User
from lesson15.api.settings import ServiceSettings
from lesson15.api.supervisor import Supervisor
from lesson15.errors import AuthenticationError, RoleError, TooManyRequestsError
from lesson15.monitoring.metrics import Metrics

_BEARER = "bearer "


class RateLimits:
    """Counts the requests of each key's user, and the wrong keys from each address."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._counter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._requests = parse(settings.rate_limit)
        self._failures = parse(settings.failed_login_limit)

    def count_request(self, user: str) -> None:
        """Count one; raises TooManyRequestsError."""
        if not self._counter.hit(self._requests, "user", user):
            self._refuse("requests", self._requests, "user", user)

    def count_failure(self, address: str) -> None:
        """Count one wrong key; raises TooManyRequestsError.

        Right keys from the same address pass: a class behind one address must not be locked out
        by one of its members, and a key cannot be guessed at any rate.
        """
        if not self._counter.hit(self._failures, "address", address):
            self._refuse("wrong keys", self._failures, "address", address)

    def _refuse(self, what: str, limit: RateLimitItem, *names: str) -> None:
        reset = self._counter.get_window_stats(limit, *names).reset_time
        seconds = max(1, round(reset - time.time()))
        raise TooManyRequestsError(what=what, limit=limit, seconds=seconds)


@dataclass(frozen=True, slots=True)
class Service:
    """What every request works with; ``app.state.service``."""

    settings: ServiceSettings
    keys: KeyStore
    supervisor: Supervisor
    metrics: Metrics
    limits: RateLimits

    def folder(self, user: User) -> UserFolder:
        """The folder of ``user``."""
        return UserFolder.of(self.settings.state_dir, user.name)

    def roots(self, user: User) -> AllowedRoots:
        """Which documents ``user`` may name."""
        return AllowedRoots(self.folder(user), self.settings.allowed_roots)


def service_of(connection: HTTPConnection) -> Service:
    """The service that ``connection`` belongs to."""
    service: Service = connection.app.state.service
    return service


def authenticate(connection: HTTPConnection) -> User:
    """The user whose key came with ``connection``.

    Raises:
        AuthenticationError: no key, or a wrong one.
        TooManyRequestsError: too many requests, or too many wrong keys.
    """
    service = service_of(connection)
    key = connection.headers.get("x-api-key")
    authorization = connection.headers.get("authorization", "")
    if key is None and authorization.lower().startswith(_BEARER):
        key = authorization[len(_BEARER) :].strip()
    try:
        user = service.keys.user_of(key or "")
    except AuthenticationError:
        service.limits.count_failure(connection.client.host if connection.client else "")
        raise
    service.limits.count_request(user.name)
    connection.state.user = user.name  # for the access log
    return user


async def _current_user(
    request: Request,
    # These two only document how a key is sent: authenticate() serves WebSockets too.
    _key: Annotated[
        object, Security(APIKeyHeader(name="X-API-Key", scheme_name="ApiKey", auto_error=False))
    ],
    _bearer: Annotated[object, Security(HTTPBearer(auto_error=False))],
) -> User:
    return authenticate(request)


CurrentService = Annotated[Service, Depends(service_of)]
CurrentUser = Annotated[User, Depends(_current_user)]


def _needs(*roles: Role) -> Callable[[User], User]:
    def check(user: CurrentUser) -> User:
        if user.role not in roles:
            raise RoleError(needed=" or ".join(roles), role=user.role.value)
        return user

    return check


Instructor = Annotated[User, Depends(_needs(Role.INSTRUCTOR, Role.ADMIN))]
Admin = Annotated[User, Depends(_needs(Role.ADMIN))]
