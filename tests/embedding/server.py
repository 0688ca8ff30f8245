"""A real HTTP server that speaks the embedding interface of OpenAI, and fails when told to."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import numpy as np

from lesson15.embedding import HashingEmbedder
from lesson15.embedding.identity import PROBE


@dataclass(frozen=True)
class Trouble:
    """What to do instead of answering well.

    ``kind``: "status" (with ``status``, ``headers``, ``message``, ``code``), "slow" (``seconds``,
    then a good answer), "cut" (the connection, in the middle of the answer), "partial" (the last
    vector is missing), "short" (vectors of the wrong length), "nan", "zero", "garbage", "shuffled"
    (right, in another order), "doubled" (one index twice), "hang" (until the server stops),
    "drip" (a byte at a time, which takes minutes),
    "index of truth", "index of fractions", "truths", "texts", "huge" (vectors that are none).
    """

    kind: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "no"
    code: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Asked:
    """One request: when it came, what was in it, and the status of the answer."""

    at: float
    texts: list[str]
    status: int
    body: dict[str, Any]
    headers: dict[str, str]
    path: str


def status(number: int, retry_after: object = None, **options: Any) -> Trouble:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Trouble("status", number, headers, **options)


class EmbeddingServer:
    """Serves on a port of its own; ``trouble(texts)`` says what goes wrong with a request.

    ``requests_per_second``, if given, is enforced over each tenth of a second and more, by
    refusals with status 429 that say when to come back. ``seconds`` is the time of an answer.
    """

    def __init__(
        self,
        trouble: Callable[[Sequence[str]], Trouble | None] = lambda texts: None,
        dimensions: int = 16,
        key: str | None = None,
        requests_per_second: float | None = None,
        seconds: float = 0.0,
        port: int = 0,
    ) -> None:
        self.trouble = trouble
        self.model = HashingEmbedder(dimensions)
        self.key = key
        self.seconds = seconds
        self.requests_per_second = requests_per_second
        self.asked: list[Asked] = []
        self.connections = 0
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._full_at = 0.0
        self._port = port

    def __enter__(self) -> EmbeddingServer:
        owner = self

        class Handler(_Handler):
            server_of = owner

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that hung up is part of the game."""

        self.over.clear()
        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)

    def name(self, model: str = "test-model", **query: object) -> str:
        """The embedder's name."""
        joined = "&".join(f"{key}={value}" for key, value in query.items())
        return f"openai:http://127.0.0.1:{self._port}/v1?{joined}#{model}"

    @property
    def answered(self) -> list[str]:
        """The texts of all answers that were sent in full, but for the probe of the model."""
        return [
            text
            for asked in self.asked if asked.status == 200
            for text in asked.texts if text != PROBE
        ]  # fmt: skip

    def too_soon(self) -> float | None:
        """Seconds until another request is allowed, None if this one is."""
        if self.requests_per_second is None:
            return None
        with self._lock:
            now = time.monotonic()
            begin = max(self._full_at, now - 0.1)
            if begin > now:
                return begin - now
            self._full_at = begin + 1 / self.requests_per_second
            return None

    def note(self, asked: Asked) -> None:
        with self._lock:
            self.asked.append(asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server_of: EmbeddingServer

    def setup(self) -> None:
        super().setup()
        self.server_of.connections += 1

    def do_POST(self) -> None:  # the name that http.server calls
        here = self.server_of
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = body["input"]
        wait = here.too_soon()
        trouble = here.trouble(texts)
        if here.key is not None and self.headers["Authorization"] != f"Bearer {here.key}":
            sent = self.headers["Authorization"]
            trouble = status(401, message=f"Incorrect API key provided: {sent}")
        if not self.path.partition("?")[0].endswith("/v1/embeddings"):
            trouble = status(404, message=f"no such path: {self.path}")
        if trouble is None and wait is not None:
            trouble = status(429, f"{wait:.3f}", message="slow down")
        code = trouble.status if trouble and trouble.kind == "status" else 200
        if trouble and trouble.kind in ("cut", "hang"):
            code = 0
        here.note(Asked(time.monotonic(), texts, code, body, dict(self.headers), self.path))
        if trouble and trouble.kind == "status":
            error = {"message": trouble.message, "code": trouble.code}
            self.answer(trouble.status, json.dumps({"error": error}).encode(), trouble.headers)
            return
        here.over.wait(here.seconds)
        self.answer_well(texts, body, trouble.kind if trouble else "", trouble)

    def answer_well(
        self, texts: list[str], body: dict[str, Any], kind: str, trouble: Trouble | None
    ) -> None:
        if kind == "hang":
            self.server_of.over.wait()
            self.close_connection = True
            return
        if kind == "slow" and trouble:
            self.server_of.over.wait(trouble.seconds)
        vectors = self.server_of.model.embed(texts) * 3.0  # not normalised, as some services'
        if kind == "short":
            vectors = vectors[:, 1:]
        if kind == "nan":
            vectors[-1, 0] = np.nan
        if kind == "zero":
            vectors[-1] = 0
        data = [
            {"object": "embedding", "index": index, "embedding": self.encode(vector, body)}
            for index, vector in enumerate(vectors)
        ]
        if kind == "shuffled":
            data.reverse()
        if kind == "partial":
            data.pop()
        if kind == "doubled":
            data[-1]["index"] = 0
        if kind == "index of truth":  # True == 1 and False == 0, but they are no numbers here
            for entry in data:
                entry["index"] = bool(entry["index"])
        if kind == "index of fractions":
            for entry in data:
                entry["index"] = float(cast(int, entry["index"]))
        if kind == "truths":
            data[-1]["embedding"] = [True] * vectors.shape[1]
        if kind == "texts":
            data[-1]["embedding"] = ["0.1"] * vectors.shape[1]
        if kind == "huge":
            data[-1]["embedding"] = [1e300] * vectors.shape[1]
        answer = b"<html>oops" if kind == "garbage" else json.dumps({"data": data}).encode()
        if kind == "drip":
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            for byte in answer:
                if self.server_of.over.wait(0.1):
                    break
                self.wfile.write(bytes([byte]))
            self.close_connection = True
            return
        if kind == "cut":
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer[: len(answer) // 2])
            self.close_connection = True
            return
        self.answer(200, answer)

    def encode(self, vector: Any, body: dict[str, Any]) -> Any:
        if body.get("encoding_format") == "base64":
            return base64.b64encode(vector.astype("<f4").tobytes()).decode()
        return vector.tolist()

    def answer(self, code: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""
