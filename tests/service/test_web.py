"""The page in a real browser, on a real service."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.service.browser import log_in, needs_chromium, open_page
from tests.service.conftest import ROOT, Client, Running, free_port

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def web(server: Running) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "lesson15.cli", "web", "--port", str(port),
         "--service-url", server.url],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 400
    while True:
        try:
            if httpx.get(f"{url}/_stcore/health").status_code == 200:
                break
        except httpx.TransportError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
    yield url
    process.terminate()
    process.wait(timeout=400)


@pytest.fixture(scope="module")
def page(web: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(web, tmp_path_factory.mktemp("profile")) as page:
        yield page


def test_a_user_on_the_page(page: Page, server: Running, tmp_path: Path) -> None:
    expect(page.get_by_text("Enter your API key")).to_be_visible()
    log_in(page, "l15_000000000000_wrong")
    expect(page.get_by_text("No valid API key")).to_be_visible()

    user = server.client("webuser")
    log_in(page, user.key)
    expect(page.get_by_text("No batch yet.")).to_be_visible()

    # Upload
    for number in range(40):
        (tmp_path / f"d{number:02}.txt").write_text(f"Chapter {number} is on bees. " * 20)
    (tmp_path / "honey.txt").write_text("<b>Honey</b> is harvested in July. " * 20)
    (tmp_path / "broken.json").write_text("{")
    page.locator("input[type=file]").set_input_files(sorted(tmp_path.iterdir()))
    expect(page.get_by_text("d39.txt").or_(page.get_by_text("broken.json")).first).to_be_visible()
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_text("Stored: ")).to_be_visible()
    assert len(user.get("/files").json()["files"]) == 42

    # Start, and live progress without any further click
    page.get_by_label("Name of the batch").fill("from-the-page")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("finished, 100 %")).to_be_visible()
    metrics = page.get_by_test_id("stMetricValue")
    expect(metrics).to_have_text(["42", "41", "1", "0"])

    # Failures
    expect(page.get_by_text("Set aside: 1")).to_be_visible()
    expect(page.get_by_role("cell", name="broken.json", exact=True)).to_be_visible()

    # Search: what a document holds is shown as text, not as markup
    search = page.get_by_label("Find the passages nearest in meaning to")
    search.fill("honey harvested in July")
    search.press("Enter")
    hit = page.get_by_test_id("stText").first
    expect(hit).to_contain_text("honey.txt")
    expect(hit).to_contain_text("<b>Honey</b>")

    # Resume, after the broken one was mended
    user.upload(broken__json='["mended"]')
    page.get_by_role("button", name="Resume").click()
    expect(metrics).to_have_text(["42", "42", "0", "0"])
    assert user.detail("from-the-page")["processed_docs"] == 42
    assert user.key is not None
    kept = [page.url, page.context.cookies(), page.evaluate("JSON.stringify({...localStorage})")]
    assert user.key not in str(kept)


def test_another_user_sees_nothing_of_it(page: Page, bob: Client) -> None:
    log_in(page, bob.key)
    expect(page.get_by_text("No batch yet.")).to_be_visible()
    expect(page.get_by_text("from-the-page")).to_have_count(0)
