"""The course in a real JupyterLab in a real browser: run, break, kill, restart, resume, verify.

With LESSON15_SCREENSHOTS set to a folder, the pictures of the README are made there.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

import lesson15
from lesson15.models import BatchStatus
from tests.course.jupyter import jupyterlab, launch, menu, open_notebook

SCREENSHOTS = os.environ.get("LESSON15_SCREENSHOTS")
LIVE_CELLS = 4  # of the console notebook: from its title to the console itself


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of the lab, and the folder with the copies of the notebooks."""
    folder = tmp_path_factory.mktemp("lab") / "course"
    with jupyterlab(folder) as address:
        notebook = nbformat.read(folder / "09_console_and_capstone.ipynb", as_version=4)
        notebook.cells = notebook.cells[:LIVE_CELLS]
        nbformat.write(notebook, folder / "live.ipynb")
        yield address, folder


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 2100}, device_scale_factor=1)
    page.set_default_timeout(30_000)
    yield page
    page.close()


def shot(page: Page, selector: str, name: str) -> None:
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        png = page.locator(selector).first.screenshot()
        picture = (
            Image.open(io.BytesIO(png)).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
        )
        picture.save(Path(SCREENSHOTS) / f"{name}.png", optimize=True)


def count(page: Page, state: str) -> int:
    """A number of the control panel's legend."""
    panel = page.locator(".l15", has=page.locator("button[data-command=start]")).first
    text = panel.locator(".l15-legend span", has_text=state).inner_text()
    return int(text.split()[-1])


def expect_status(page: Page, status: str, timeout: float = 60_000) -> None:
    expect(page.locator(".l15-badge").first).to_have_text(status, timeout=timeout)


def command(page: Page, name: str) -> None:
    page.locator(f"button[data-command={name}]").first.click()


def wait_for_count(page: Page, state: str, least: int) -> None:
    for _ in range(600):
        if count(page, state) >= least:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{state} stays at {count(page, state)}, below {least}")


def test_run_all_of_the_first_notebook(course: tuple[str, Path], page: Page) -> None:
    address, _ = course
    open_notebook(page, address, "00_start_here.ipynb")
    menu(page, "Run", "Run All Cells")
    expect_status(page, "finished")
    assert (count(page, "done"), count(page, "failed")) == (50, 7)
    expect(page.locator("text=Exercise 3: no answer yet")).to_be_visible(timeout=400_000)
    assert page.locator(".jp-OutputArea-output[data-mime-type*=error]").count() == 0
    assert int(page.locator(".l15 canvas").first.get_attribute("data-frames") or 0) > 3
    shot(page, ".jp-Cell:has(.l15)", "start-here")

    page.locator(".l15 canvas").first.click(position={"x": 5, "y": 5})  # the first of the bad ones
    expect(page.locator(".l15-note").first).to_contain_text("empty.txt: failed;")
    expect(page.locator(".l15-note").first).to_contain_text("the file is empty")


@pytest.mark.timeout(300)
def test_break_kill_restart_resume(course: tuple[str, Path], page: Page) -> None:
    address, folder = course
    open_notebook(page, address, "live.ipynb")
    menu(page, "Run", "Run All Cells")
    expect_status(page, "new")

    command(page, "start")
    expect_status(page, "running")
    wait_for_count(page, "done", 20)
    assert count(page, "failed") == 0

    slider = page.locator("input[data-dial=parse_error]")
    slider.fill("0.8")  # mid-run
    wait_for_count(page, "failed", 10)
    expect(page.locator(".l15-slider", has=slider)).to_contain_text("fired")
    shot(page, ".jp-OutputArea-output", "console-light")
    if SCREENSHOTS:
        page.locator("input[data-dial=delay]").fill("2")
        menu(page, "Settings", "Theme", "JupyterLab Dark")
        page.wait_for_timeout(2000)
        shot(page, ".jp-OutputArea-output", "console-dark")
        menu(page, "Settings", "Theme", "JupyterLab Light")
        page.locator("input[data-dial=delay]").fill("0.3")
    slider.fill("0")

    command(page, "pause")
    expect_status(page, "paused")
    command(page, "resume")
    expect_status(page, "running")

    command(page, "kill")
    expect_status(page, "killed")
    committed = count(page, "done") + count(page, "failed")
    assert committed >= 20  # a checkpoint every twenty
    assert count(page, "pending") > 0
    expect(page.locator(".l15-error").first).to_contain_text("killed by SIGKILL")

    menu(page, "Kernel", "Restart Kernel and Run All Cells")
    page.locator(".jp-Dialog button", has_text="Restart").click()
    expect_status(page, "interrupted")
    assert count(page, "done") + count(page, "failed") == committed

    command(page, "resume")
    expect_status(page, "running")
    wait_for_count(page, "done", committed + 10)
    menu(page, "Kernel", "Restart Kernel and Run All Cells")  # while the batch runs, this time
    page.locator(".jp-Dialog button", has_text="Restart").click()
    expect(page.locator(".l15-badge").first).to_have_text(re.compile("interrupted|cancelled|busy"))

    command(page, "resume")
    expect_status(page, "running")
    page.locator("input[data-dial=delay]").fill("0")
    expect_status(page, "finished")
    assert count(page, "failed") > 0
    command(page, "retry_failed")
    wait_for_count(page, "done", 400)
    expect_status(page, "finished")

    state = folder / "work" / "console"
    verification = lesson15.verify("class", state)
    assert verification.is_clean, verification.faults
    assert verification.status == BatchStatus.FINISHED
    assert verification.documents == 400


REPLAY = """
import lesson15
from lesson15 import course
from lesson15.widgets import ReplayScrubber
course.prepare()
state = course.work_folder("replay")
lesson15.run([course.make_documents(state / "docs", 200)], "b", state_dir=state, embedder="hashing")
ReplayScrubber(state, "b")
"""


def test_replay(course: tuple[str, Path], page: Page) -> None:
    address, folder = course
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(REPLAY)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / "replay.ipynb")
    open_notebook(page, address, "replay.ipynb")
    menu(page, "Run", "Run All Cells")
    done = page.locator(".l15-legend span", has_text="done").first
    expect(done).to_have_text("done 0")
    slider = page.locator("input[aria-label=Event]")
    slider.fill("100")
    expect(done).to_have_text(re.compile(r"done (8|9)\d"))
    shot(page, ".jp-OutputArea-output", "replay")
    slider.fill("0")
    expect(done).to_have_text("done 0")
    page.locator(".l15 button", has_text="Play").click()
    expect(done).to_have_text("done 200", timeout=400_000)
    expect(page.locator(".l15-note")).to_contain_text("finished")
