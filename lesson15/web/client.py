"""A client of the service's HTTP interface."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import httpx

from lesson15.errors import ServiceError, ServiceUnreachableError

_TIMEOUT_SECONDS = 60.0
Content = dict[str, Any]


class NamedFile(Protocol):
    """A file to upload."""

    name: str

    def read(self) -> bytes:
        """All of its bytes."""
        ...


class ServiceClient:
    """One user's view of the service at ``url``.

    Every method raises ServiceError with what the service said if it refused, and
    ServiceUnreachableError if it did not answer.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._http = httpx.Client(
            base_url=url, headers={"X-API-Key": key}, timeout=_TIMEOUT_SECONDS
        )

    def _ask(self, method: str, path: str, **options: Any) -> Content:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise ServiceUnreachableError(url=self._url, detail=error) from error
        if answer.is_error:
            is_problem = answer.headers.get("content-type") == "application/problem+json"
            raise ServiceError(problem=answer.json()["detail"] if is_problem else answer.text)
        content: Content = answer.json()
        return content

    def files(self) -> Content:
        """The uploads (``files``) and the shared folders (``roots``)."""
        return self._ask("GET", "/files")

    def upload(self, files: Iterable[NamedFile]) -> Content:
        """Store ``files``."""
        parts = [("files", (file.name, file.read())) for file in files]
        return self._ask("POST", "/files", files=parts)

    def process(self, paths: list[str], batch_id: str | None) -> Content:
        """Start a batch; without ``batch_id`` the service makes one up."""
        body = {"doc_paths": paths, "batch_id": batch_id}
        return self._ask("POST", "/batch/process", json=body)

    def command(self, verb: str, batch_id: str) -> Content:
        """Have ``verb`` done: pause, unpause, cancel, resume or retry-failed."""
        return self._ask("POST", f"/batch/{verb}/{batch_id}")

    def batches(self) -> list[Content]:
        """All batches, oldest first."""
        found: list[Content] = self._ask("GET", "/batch/list")["batches"]
        return found

    def detail(self, batch_id: str) -> Content:
        """All about a batch."""
        return self._ask("GET", f"/batch/detail/{batch_id}")

    def failures(self, batch_id: str) -> Content:
        """The first hundred of the dead-letter list, and how many there are."""
        return self._ask("GET", f"/batch/failures/{batch_id}")

    def search(self, batch_id: str, text: str, k: int) -> list[Content]:
        """The ``k`` chunks nearest to ``text``."""
        params: dict[str, str | int] = {"q": text, "k": k}
        found: list[Content] = self._ask("GET", f"/batch/search/{batch_id}", params=params)["hits"]
        return found
