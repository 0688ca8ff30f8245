"""A real JupyterLab, started by `lesson15 lab`, and a real Chromium to look at it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright

from lesson15.children import child_environment

TOKEN = "for-the-tests"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


def launch(playwright: Playwright) -> Browser:
    """The Chromium of this machine; the test is skipped if there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on this machine")
    return playwright.chromium.launch(executable_path=path, args=FLAGS)


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """`lesson15 lab` on ``folder``; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = folder.parent / "home"
    env = child_environment() | {
        "JUPYTER_TOKEN": TOKEN,
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
    }
    settings = home / "config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    with (folder.parent / "jupyter.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "lesson15.cli", "lab", "--no-browser", f"--port={port}",
             f"--folder={folder}"],
            env=env, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(f"{address}/api/status?token={TOKEN}")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait_until_up(url: str) -> None:
    deadline = time.monotonic() + 400
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def open_notebook(page: Page, address: str, name: str) -> None:
    """Show a notebook and wait for its kernel."""
    page.goto(f"{address}/lab/tree/{name}?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=400_000)
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle", timeout=400_000)


def menu(page: Page, *labels: str) -> None:
    """Choose from the menu bar."""
    page.locator(".lm-MenuBar-itemLabel", has_text=labels[0]).first.click()
    for label in labels[1:]:
        page.locator(".lm-Menu-itemLabel", has_text=label).first.click()
