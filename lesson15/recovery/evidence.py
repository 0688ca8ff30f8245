"""What an exception carries besides its class: HTTP status, service code, time to come back.

Clients put these in different places, so they are looked for wherever one of them keeps them. An
attribute that raises counts as absent.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EPOCH = 1_000_000_000  # a "seconds from now" larger than this is a point in time


def attribute(thing: object, name: str) -> Any:
    """``thing.name``, or None if there is none or it cannot be had."""
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a property of somebody else's class; httpx has such
        return None


def http_status(error: BaseException) -> int | None:
    """The HTTP status of the answer that ``error`` is about."""
    response = attribute(error, "response")
    places: list[Any] = [
        attribute(response, "status_code"),
        attribute(response, "status"),
        *(attribute(error, name) for name in ("status_code", "http_status", "status", "code")),
    ]
    metadata = _mapping(_mapping(response).get("ResponseMetadata"))
    places.append(metadata.get("HTTPStatusCode"))
    for place in places:
        if isinstance(place, int) and not isinstance(place, bool) and 400 <= place <= 599:
            return int(place)
    return None


def grpc_code(error: BaseException) -> str | None:
    """The name of the gRPC status code that ``error`` carries, such as "UNAVAILABLE"."""
    code = attribute(error, "code")
    if not callable(code) or isinstance(code, type):
        return None
    try:
        name = attribute(code(), "name")
    except Exception:  # noqa: BLE001 - somebody else's method: what fails here is not an answer
        return None
    return name if isinstance(name, str) else None


def service_codes(error: BaseException) -> Iterator[str]:
    """The codes that a service gave beside the status, the most specific first."""
    details = _mapping(_mapping(attribute(error, "response")).get("Error"))
    body = _mapping(attribute(error, "body"))
    body = _mapping(body.get("error")) or body
    for code in (
        details.get("Code"), attribute(error, "code"), body.get("code"), body.get("type"),
    ):  # fmt: skip
        if isinstance(code, str):
            yield code


def retry_after(error: BaseException) -> float | None:
    """Seconds until the other side wants to hear from us again, None if it did not say.

    Taken from ``error.retry_after``, or from the headers ``Retry-After`` (seconds or a date, which
    is compared with the server's own ``Date``), ``retry-after-ms`` and ``x-ratelimit-reset-*``.
    """
    said = attribute(error, "retry_after")
    if isinstance(said, int | float) and not isinstance(said, bool):
        return _sensible(float(said))
    headers = _headers(error)
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _sensible(milliseconds / 1000)
    value = headers.get("retry-after")
    if value is not None:
        number = _number(value)
        return _sensible(_seconds_until(value, headers) if number is None else number)
    return _reset(headers)


def _headers(error: BaseException) -> dict[str, str]:
    response = attribute(error, "response")
    metadata = _mapping(_mapping(response).get("ResponseMetadata"))
    for found in (
        attribute(response, "headers"), attribute(error, "headers"), metadata.get("HTTPHeaders"),
    ):  # fmt: skip
        items = attribute(found, "items")
        if callable(items):
            return {str(name).lower(): str(value) for name, value in items()}
    return {}


def _reset(headers: Mapping[str, str]) -> float | None:
    """The reset of whichever limit is used up; of all that are named if none says which."""
    resets: dict[str, float] = {}
    for name, value in headers.items():
        prefix, found, what = name.partition("ratelimit-reset")
        if found and prefix in ("", "x-"):
            seconds = _duration(value)
            if seconds is not None:
                resets[f"{prefix}ratelimit-remaining{what}"] = seconds
    used_up = [seconds for name, seconds in resets.items() if _number(headers.get(name)) == 0]
    return _sensible(max(used_up or resets.values(), default=None))


def _duration(text: str) -> float | None:
    number = _number(text)
    if number is not None:
        return number - time.time() if number > _EPOCH else number
    parts = _DURATION.findall(text)
    if not parts or "".join(map("".join, parts)) != text.strip():
        return None
    return sum(float(count) * _SECONDS[unit] for count, unit in parts)


def _seconds_until(date: str, headers: Mapping[str, str]) -> float | None:
    try:
        then = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    try:  # the two clocks may differ: only the server's own counts
        now = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError):
        now = time.time()
    return max(0.0, then - now)


def _sensible(seconds: float | None) -> float | None:
    return seconds if seconds is not None and math.isfinite(seconds) and seconds >= 0 else None


def _number(text: object) -> float | None:
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}
