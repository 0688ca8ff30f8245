"""The nginx configuration in deploy/, run as it is but for ports, in front of real servers."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets.sync.client
from playwright.sync_api import expect
from websockets.exceptions import InvalidStatus

from lesson15.api.keys import Role
from tests.service.browser import log_in, needs_chromium, open_page
from tests.service.certificates import certificate
from tests.service.conftest import ROOT, Client, Running, free_port, write_documents

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
pytestmark = pytest.mark.skipif(
    not Path(NGINX).exists() and "CI" not in os.environ, reason="there is no nginx"
)


def wait_for(url: str, **options: Any) -> None:
    deadline = time.monotonic() + 400
    while True:
        try:
            if httpx.get(url, **options).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, url
        time.sleep(0.05)


class Front:
    """nginx, and what its clients need to trust it."""

    def __init__(self, port: int, cert: Path) -> None:
        self.port = port
        self.url = f"https://127.0.0.1:{port}"
        self.context = ssl.create_default_context(cafile=str(cert))

    def client(self, key: str | None) -> httpx.Client:
        headers = {"X-API-Key": key} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, verify=self.context, timeout=30)


@pytest.fixture(scope="module")
def front(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "logs").mkdir()
    cert, _ = certificate(folder, password=None)
    web, port = free_port(), free_port()
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    for fixed, free in (
        ("127.0.0.1:8000", server.url.removeprefix("http://")),
        ("127.0.0.1:8501", f"127.0.0.1:{web}"),
        ("127.0.0.1:8443", f"127.0.0.1:{port}"),
    ):
        assert text.count(fixed) == 1
        text = text.replace(fixed, free)
    (folder / "nginx.conf").write_text(text)
    pages = subprocess.Popen(
        [sys.executable, "-m", "lesson15.cli", "web", "--port", str(web), "--base-path", "app",
         "--service-url", server.url],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    nginx = subprocess.Popen(
        [NGINX, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf"),
         "-g", "daemon off;"]
    )  # fmt: skip
    front = Front(port, cert)
    try:
        wait_for(f"{front.url}/healthz", verify=front.context)
        wait_for(f"http://127.0.0.1:{web}/app/_stcore/health")
        yield front
    finally:
        for process in (nginx, pages):
            process.terminate()
            process.wait(timeout=400)


def test_a_batch_through_nginx(front: Front, server: Running, shared: Path) -> None:
    user = server.client("behind")
    with front.client(user.key) as client:
        parts = [("files", ("bees.txt", b"Honey is harvested in July. " * 20))]
        assert client.post("/files", files=parts).status_code == 200
        body = {"doc_paths": ["."], "batch_id": "b"}
        assert client.post("/batch/process", json=body).status_code == 200
        user.wait("b")
        found = client.get("/batch/search/b", params={"q": "honey"})
        assert found.json()["hits"][0]["doc_id"] == "bees.txt"
        assert found.headers["x-content-type-options"] == "nosniff"
        assert "nginx/" not in found.headers["server"]
    with front.client(None) as client:
        refused = client.get("/batch/list")
        assert refused.status_code == 401
        assert refused.headers["content-type"] == "application/problem+json"
    # Refused on the announcement alone, before a byte of it is sent.
    announced = http.client.HTTPSConnection("127.0.0.1", front.port, context=front.context)
    announced.putrequest("POST", "/files")
    announced.putheader("Content-Length", str(300 * 1024 * 1024))
    announced.endheaders()
    assert announced.getresponse().status == 413
    announced.close()


def test_live_progress_is_not_held_back(front: Front, server: Running) -> None:
    user = server.client("live", Role.INSTRUCTOR)
    write_documents(server.files("live"), 300)
    user.process(".", batch_id="long")
    seen: list[int] = []
    with (
        front.client(user.key) as client,
        client.stream("GET", "/batch/events/long") as answer,
        websockets.sync.client.connect(
            f"{front.url.replace('https', 'wss')}/batch/events/long",
            additional_headers={"X-API-Key": user.key},
            ssl=front.context,
            open_timeout=30,
        ) as socket,
    ):
        for line in itertools.islice(answer.iter_lines(), 60):
            if line.startswith("data: "):
                seen.append(json.loads(line[6:])["processed_docs"])
                # Held back, this would come only after the end of the batch.
                if 0 < seen[-1] < 300:
                    break
        assert 0 < seen[-1] < 300
        assert user.detail("long")["status"] == "running"
        assert json.loads(socket.recv(timeout=30))["batch_id"] == "long"
    assert user.wait("long")["processed_docs"] == 300
    with front.client(user.key) as client:
        assert client.get("/metrics").status_code == 404


def test_refusals_pass_through(front: Front, alice: Client) -> None:
    with pytest.raises(InvalidStatus) as refused:
        websockets.sync.client.connect(
            f"{front.url.replace('https', 'wss')}/batch/events/none", ssl=front.context
        )
    assert refused.value.response.status_code == 401


@needs_chromium
def test_the_page_behind_nginx(front: Front, server: Running, tmp_path: Path) -> None:
    with front.client(None) as client:
        assert client.get("/app").headers["location"].endswith("/app/")
    with open_page(f"{front.url}/app/", tmp_path) as page:
        log_in(page, server.client("pageuser").key)
        expect(page.get_by_text("No batch yet.")).to_be_visible()
