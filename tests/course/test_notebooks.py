"""The notebooks as files; that they run is checked by `pytest --nbval-lax notebooks`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def tool(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, root / "tools/notebooks.py", *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_notebooks_are_in_step_with_their_sources() -> None:
    assert tool(ROOT, "--check").returncode == 0
    sources = {path.stem for path in (ROOT / "notebooks/src").glob("*.py")}
    assert {path.stem for path in NOTEBOOKS} == sources
    assert len(sources) == 10


def test_a_notebook_that_is_not_is_found(tmp_path: Path) -> None:
    for name in ("notebooks", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("work"))
    source = tmp_path / "notebooks/src/00_start_here.py"
    source.write_text(source.read_text() + "\n# %%\nprint('new')\n")
    check = tool(tmp_path, "--check")
    assert check.returncode == 1
    assert "00_start_here.ipynb" in check.stderr
    assert tool(tmp_path).returncode == 0
    assert tool(tmp_path, "--check").returncode == 0
    assert "print('new')" in (tmp_path / "notebooks/00_start_here.ipynb").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_shape_of_a_lesson(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert "**Question.**" in prose
    assert "## Exercises" in prose
    assert "redict" in prose or "**Predict" in prose
    assert sum("check(" in cell.source for cell in code) >= 3
    assert any("assert " in cell.source for cell in code)
