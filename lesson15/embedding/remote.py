"""A model behind HTTP: the interface of OpenAI, which many services and servers speak.

Source: https://platform.openai.com/docs/api-reference/embeddings. An answer is believed only if it
has one finite vector of the right length for each text, in an order that it states.
"""

from __future__ import annotations

import base64
import binascii
import time
import weakref
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

from lesson15.embedding.base import Vectors
from lesson15.embedding.endpoint import Endpoint
from lesson15.errors import EmbedderNameError, InvalidAnswerError
from lesson15.recovery import classify

_CONNECT_SECONDS = 10.0
_ASK_TEXT = "How long is a vector?"
_ASK_TRIES = 3
_FRAMING = ("content-encoding", "content-length", "transfer-encoding")  # of bytes that are decoded
_START_BYTES = 60  # of an answer, for the message
_DETAIL_CHARACTERS = 300


class OpenAIEmbedder:
    """Embeds by POST to an OpenAI-compatible service.

    Args:
        endpoint: the service and its model.
        dimensions: the length that vectors must have; by default what the endpoint says, and if it
            says nothing, what the first call finds.
        key: is sent as a bearer token; by default that of the environment.
    """

    def __init__(
        self, endpoint: Endpoint, dimensions: int | None = None, key: str | None = None
    ) -> None:
        self.endpoint = endpoint
        self.name = endpoint.name
        self.batch_size = endpoint.batch_size
        self.threads = endpoint.threads
        self.requests_per_minute = endpoint.requests_per_minute
        self.tokens_per_minute = endpoint.tokens_per_minute
        self._dimensions = dimensions or endpoint.dimensions
        self._key = key or Endpoint.key()
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(endpoint.timeout, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(
                max_connections=endpoint.threads, max_keepalive_connections=endpoint.threads
            ),
        )
        weakref.finalize(self, self._client.close)

    @property
    def dimensions(self) -> int:
        """The vector length; if nobody has said it yet, a call finds it."""
        if self._dimensions is None:
            self._dimensions = int(self._ask([_ASK_TEXT]).shape[1])
        return self._dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors (len(texts) x dimensions, float32, normalised).

        Raises:
            httpx.HTTPError: the service cannot be reached, or refuses; it carries the answer.
            InvalidAnswerError: the answer cannot be what was asked for.
        """
        vectors = self._ask(texts)
        if self._dimensions is None:
            self._dimensions = int(vectors.shape[1])
        if vectors.shape[1] != self._dimensions:
            raise self._invalid(f"vectors of length {vectors.shape[1]}, not {self._dimensions}")
        return vectors

    def _ask(self, texts: Sequence[str]) -> Vectors:
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "input": list(texts),
            "encoding_format": self.endpoint.encoding,
        }
        if self.endpoint.dimensions is not None:
            body["dimensions"] = self.endpoint.dimensions
        answer = self._post(orjson.dumps(body))
        if answer.status_code != 200:
            raise self._refusal(answer)
        return self._vectors(answer.content, len(texts))

    def _post(self, content: bytes) -> httpx.Response:
        """The answer, read to its end, in the seconds that the endpoint allows for the whole."""
        over = time.monotonic() + self.endpoint.timeout
        headers = {"Content-Type": "application/json"}
        with self._client.stream(
            "POST", self.endpoint.url, content=content, headers=headers
        ) as answer:
            parts: list[bytes] = []
            for part in answer.iter_bytes():
                parts.append(part)
                if time.monotonic() > over:  # httpx limits the time of each read alone
                    raise httpx.ReadTimeout(
                        f"the answer was not complete after {self.endpoint.timeout:g} s",
                        request=answer.request,
                    )
        return httpx.Response(
            answer.status_code,
            headers=[pair for pair in answer.headers.multi_items() if pair[0] not in _FRAMING],
            content=b"".join(parts),
            request=answer.request,
        )

    def _refusal(self, answer: httpx.Response) -> Exception:
        """The error for an answer that is none, with what the service says of it, but no key."""
        body = _parse(answer.content)
        said = body.get("error", body) if isinstance(body, dict) else None
        if isinstance(said, dict):
            said = said.get("message") or said.get("detail") or said
        text = str(said or answer.text or answer.reason_phrase)[:_DETAIL_CHARACTERS]
        if "location" in answer.headers:
            text += f" (it sends elsewhere: {answer.headers['location'][:_DETAIL_CHARACTERS]})"
        if self._key:
            text = text.replace(self._key, "***")
        error = httpx.HTTPStatusError(
            f"HTTP {answer.status_code}: {text}", request=answer.request, response=answer
        )
        error.body = body  # type: ignore[attr-defined]  # where openai's own client keeps it
        return error

    def _vectors(self, content: bytes, count: int) -> Vectors:
        body = _parse(content)
        if body is None:
            raise self._invalid(
                "an answer that is not JSON, which has no number NaN or Infinity: "
                f"{content[:_START_BYTES]!r}"
            )
        data = body.get("data") if isinstance(body, dict) else None
        if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
            raise self._invalid("an answer without a list `data`")
        if len(data) != count:
            raise self._invalid(f"{len(data)} vectors of {count} texts")
        order = [entry.get("index", number) for number, entry in enumerate(data)]
        if any(type(index) is not int for index in order) or sorted(order) != list(range(count)):
            raise self._invalid(f"vectors for {count} texts whose indexes are not 0 to {count - 1}")
        rows = [self._row(entry.get("embedding")) for entry in data]
        lengths = {len(row) for row in rows}
        if len(lengths) != 1 or 0 in lengths:
            raise self._invalid(f"vectors of different lengths: {sorted(lengths)}")
        vectors = np.empty((count, len(rows[0])), np.float32)
        vectors[order] = rows
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.all(np.isfinite(norms)) or not np.all(norms > 0):
            raise self._invalid("a vector that is not finite, or zero")
        vectors /= norms
        return vectors

    def _row(self, embedding: object) -> NDArray[Any]:
        try:
            if isinstance(embedding, str):
                return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
            numbers = np.asarray(embedding)
        except (binascii.Error, TypeError, ValueError) as error:
            raise self._invalid("a vector that is neither numbers nor base64") from error
        if numbers.ndim != 1 or numbers.dtype.kind not in "iuf":
            raise self._invalid("a vector that is not a list of numbers")
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
            return numbers.astype(np.float32)

    def _invalid(self, detail: str) -> InvalidAnswerError:
        return InvalidAnswerError(embedder=self.name, detail=detail)


@lru_cache(maxsize=16)
def find_dimensions(endpoint: Endpoint) -> int:
    """The vector length of the model at ``endpoint``, by a call if the endpoint does not say.

    Raises:
        EmbedderNameError: no answer was to be had.
    """
    embedder = OpenAIEmbedder(endpoint)
    for number in range(_ASK_TRIES):
        try:
            return embedder.dimensions
        except Exception as error:
            decision = classify(error)
            if not decision.is_transient or number == _ASK_TRIES - 1:
                raise EmbedderNameError(
                    name=endpoint.name,
                    detail=f"{str(error) or type(error).__name__} at {endpoint.url}",
                    form="the address and the model of a service that runs, or ?dimensions=N in "
                    "the URL, which spares this call",
                ) from error
            time.sleep(min(decision.retry_after or 2.0**number, 10))
    raise AssertionError


def _parse(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
