"""Where a remote model is: what the embedder name ``openai:URL#MODEL`` says."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from lesson15.errors import EmbedderNameError

PREFIX = "openai:"
KEY_VARIABLES = ("LESSON15_EMBEDDER_API_KEY", "OPENAI_API_KEY")
_FORM = (
    "openai:URL#MODEL, such as openai:https://api.openai.com/v1#text-embedding-3-small, with the "
    f"key in {' or '.join(KEY_VARIABLES)}"
)
_SECRET = re.compile(r"key|token$|secret|password|passwd|sig(nature)?$|auth", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible service, its model, and how it wants to be called.

    Attributes:
        name: the embedder's name, as it was given; nothing in it is secret.
        url: what requests are posted to.
        model: what the service calls the model.
        dimensions: the vector length to ask for; None is what the model has by itself.
        batch_size: texts in one call.
        threads: calls at once.
        encoding: "float" or "base64"; either is understood, whatever was asked for.
        timeout: seconds for one answer.
        requests_per_minute, tokens_per_minute: the account's limits, None for none.
    """

    name: str
    url: str
    model: str
    dimensions: int | None = None
    batch_size: int = 64
    threads: int = 8
    encoding: str = "float"
    timeout: float = 60.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None

    @classmethod
    def parse(cls, name: str) -> Endpoint:
        """The endpoint that ``name`` means.

        The fields but the first three may stand in the query of the URL; what else stands there is
        passed on to the service.

        Raises:
            EmbedderNameError: it is not of that form, or has a secret in it.
        """
        text = name.removeprefix(PREFIX)
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise _wrong("openai:...", f"the URL is not valid: {error}") from error
        if parts.username is not None or parts.password is not None:
            raise _wrong("openai:...", "a URL with a user or a password in it ends up on record")
        query = parse_qsl(parts.query, keep_blank_values=True)
        for key, _ in query:
            if _SECRET.search(key) and key != "tokens_per_minute":
                raise _wrong("openai:...", f"a URL with a secret ({key}) in it ends up on record")
        if parts.scheme not in ("http", "https") or not host or (port is not None and port < 1):
            raise _wrong(name, "its URL does not begin with http:// or https:// and a host")
        if not parts.fragment:
            raise _wrong(name, "it names no model")
        options: dict[str, Any] = {}
        passed_on = []
        for key, value in query:
            if key in _OPTIONS:
                try:
                    options[key] = _OPTIONS[key](value)
                except ValueError as error:
                    raise _wrong(name, f"{key}={value} is not valid") from error
            else:
                passed_on.append((key, value))
        path = parts.path.rstrip("/").removesuffix("/embeddings") + "/embeddings"
        url = urlunsplit((parts.scheme, parts.netloc, path, urlencode(passed_on), ""))
        return cls(name, url, parts.fragment, **options)

    @staticmethod
    def key() -> str | None:
        """The key for the service, from the environment."""
        return next(filter(None, map(os.environ.get, KEY_VARIABLES)), None)


def _wrong(name: str, detail: str) -> EmbedderNameError:
    return EmbedderNameError(name=name, detail=detail, form=_FORM)


def _whole(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def _positive(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise ValueError
    return number


def _encoding(text: str) -> str:
    if text not in ("float", "base64"):
        raise ValueError
    return text


_OPTIONS: dict[str, Callable[[str], Any]] = {
    "dimensions": _whole,
    "batch_size": _whole,
    "threads": _whole,
    "encoding": _encoding,
    "timeout": _positive,
    "requests_per_minute": _positive,
    "tokens_per_minute": _positive,
}
