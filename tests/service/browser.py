"""A page in the real Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists() and "CI" not in os.environ, reason="there is no Chromium"
)


@contextmanager
def open_page(url: str, profile: Path) -> Iterator[Page]:
    """A page at ``url``, in a browser of its own that trusts any certificate."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=FLAGS, ignore_https_errors=True
        )
        page = context.new_page()
        page.set_default_timeout(30_000)
        expect.set_options(timeout=400_000)
        page.goto(url)
        yield page
        context.close()


def log_in(page: Page, key: str | None) -> None:
    field = page.get_by_label("API key")
    field.fill(key or "")
    field.press("Enter")
