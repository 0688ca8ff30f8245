"""Does the document grid follow 10,000 documents at 10 Hz? Measured in a real JupyterLab.

A notebook in headless Chromium shows a grid of 10,000 cells, of which 1,000 change before each of
the ten updates a second, by a loop in the kernel. Reported: updates sent by the kernel, frames
drawn by the browser, and what each update costs the kernel. A second run has the real engine at
work on 10,000 files.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import nbformat
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.course.jupyter import jupyterlab, launch, menu, open_notebook

SECONDS = 10
SET_UP = """
import json, random, resource, threading, time
from lesson15 import course
from lesson15.lab import BatchSession
from lesson15.lab.view import BatchView
from lesson15.widgets import ControlPanel, DocumentGrid
course.prepare()

class CountingGrid(DocumentGrid):
    updates, cost = 0, 0.0
    def refresh(self):
        start = time.thread_time()
        super().refresh()
        self.cost += time.thread_time() - start
        self.updates += 1
"""
SYNTHETIC = f"""
session = BatchSession([], "synthetic", "state")
session.view = BatchView(f"doc-{{n}}" for n in range(10_000))
grid = CountingGrid(session)
display(grid)
result = {{}}

def change():
    rng = random.Random(15)
    time.sleep(3)
    grid.updates, grid.cost, start = 0, 0.0, time.monotonic()
    while time.monotonic() - start < {SECONDS}:
        for place in rng.sample(range(10_000), 100):
            session.view.codes[place] = rng.randrange(6)
        session._tell()
        time.sleep(0.01)
    result.update(updates=grid.updates, ms=1000 * grid.cost / grid.updates)

threading.Thread(target=change).start()
"""
REAL = """
docs = course.make_documents(__import__("pathlib").Path("docs"), 10_000)
session = BatchSession([docs], "real", "state", embedder="hashing", max_concurrent=16,
                       checkpoint_interval=500)
grid = CountingGrid(session)
display(ControlPanel(session), grid)
session.start()
"""
TELL = "print('RESULT', json.dumps({}))"


def frames(page: Page) -> int:
    """How often the grid has been drawn."""
    return int(page.locator(".l15 canvas").first.get_attribute("data-frames") or 0)


def main() -> None:
    """Run both and print the figures."""
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary) / "course"
        folder.mkdir()
        for name, cell in (("synthetic", SYNTHETIC), ("real", REAL)):
            notebook = nbformat.v4.new_notebook()
            notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
            notebook.cells = [nbformat.v4.new_code_cell(SET_UP + cell)]
            nbformat.write(notebook, folder / f"{name}.ipynb")
        with jupyterlab(folder) as address:
            page = launch(playwright).new_page(viewport={"width": 1280, "height": 1000})
            measure_synthetic(page, address)
            measure_real(page, address)


def measure_synthetic(page: Page, address: str) -> None:
    """Ten seconds of updates."""
    open_notebook(page, address, "synthetic.ipynb")
    menu(page, "Run", "Run All Cells")
    page.wait_for_selector(".l15 canvas", timeout=60_000)
    page.wait_for_timeout(4500)
    before = frames(page)
    page.wait_for_timeout(5000)
    drawn = frames(page) - before
    page.wait_for_timeout(SECONDS * 1000 - 7000)
    result = ask(page, TELL.format("result"))
    print(
        f"synthetic: {result['updates'] / SECONDS:.1f} updates a second sent, {drawn / 5:.1f} "
        f"frames a second drawn, {result['ms']:.2f} ms of the kernel's processor for each"
    )


def measure_real(page: Page, address: str) -> None:
    """The whole of a real batch."""
    open_notebook(page, address, "real.ipynb")
    menu(page, "Run", "Run All Cells")
    badge = page.locator(".l15-badge").first
    badge.filter(has_text="running").wait_for(timeout=120_000)
    before = frames(page)
    badge.filter(has_text="finished").wait_for(timeout=300_000)
    drawn = frames(page) - before
    told = "dict(updates=grid.updates, cost=grid.cost, seconds=session.report['seconds'])"
    result = ask(page, TELL.format(told))
    seconds = result["seconds"]
    print(
        f"real: 10,000 documents in {seconds:.1f} s; {drawn / seconds:.1f} frames a second drawn, "
        f"{1000 * result['cost'] / result['updates']:.2f} ms of the kernel's processor for each of "
        f"{result['updates']} updates, {100 * result['cost'] / seconds:.1f} % of a core"
    )


def ask(page: Page, code: str) -> dict[str, float]:
    """Run a new cell and return what it prints after RESULT."""
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.type(code)
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-OutputArea-output pre", has_text="RESULT {").last
    output.wait_for(timeout=60_000)
    found: dict[str, float] = json.loads(output.inner_text().split("RESULT", 1)[1])
    return found


if __name__ == "__main__":
    main()
