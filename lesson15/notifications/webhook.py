"""A signed POST to a URL of the operator's choice.

The body is the JSON of :class:`~lesson15.notifications.BatchEnded`. With a secret, the header
``X-Lesson15-Signature`` is ``sha256=`` and the HMAC of ``X-Lesson15-Timestamp``, a dot and the
body: a receiver that checks both knows who sent it and that it is not an old one sent again.
``X-Lesson15-Delivery`` stays the same over retries.
"""

from __future__ import annotations

import hashlib
import hmac
import time
import uuid

import orjson
from pydantic import SecretStr
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from lesson15.errors import MissingDependencyError
from lesson15.notifications import BatchEnded

try:
    import httpx
except ImportError as error:
    raise MissingDependencyError(feature="LESSON15_WEBHOOK_URL", package="httpx") from error

_ATTEMPTS = 4
_TIMEOUT_SECONDS = 10.0


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The signature of ``body`` as sent at ``timestamp``."""
    message = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


class Webhook:
    """Posts to ``url``, again after a failure that may pass."""

    def __init__(self, url: str, secret: SecretStr | None, first_wait: float = 1.0) -> None:
        self._url = url
        self._secret = secret
        self._first_wait = first_wait

    def __call__(self, ended: BatchEnded, /) -> None:
        """Tell of ``ended``.

        Raises:
            httpx.HTTPError: it was refused, or not taken after four attempts.
        """
        body = orjson.dumps(ended.to_dict())
        delivery = uuid.uuid4().hex
        retrying = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential(self._first_wait) + wait_random(0, self._first_wait),
            reraise=True,
        )
        retrying(self._post, body, delivery)

    def _post(self, body: bytes, delivery: str) -> None:
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "X-Lesson15-Delivery": delivery,
            "X-Lesson15-Timestamp": timestamp,
        }
        if self._secret is not None:
            secret = self._secret.get_secret_value()
            headers["X-Lesson15-Signature"] = sign(secret, timestamp, body)
        answer = httpx.post(self._url, content=body, headers=headers, timeout=_TIMEOUT_SECONDS)
        answer.raise_for_status()


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, httpx.TransportError)
