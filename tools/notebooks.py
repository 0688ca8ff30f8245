"""Make notebooks/*.ipynb from notebooks/src/*.py, their reviewed sources, without outputs.

With --check nothing is written; the exit status is 1 if a notebook is out of step.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jupytext
import nbformat

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def build(source: Path) -> str:
    """The notebook of ``source`` as JSON text, the same for the same source."""
    notebook = jupytext.read(source)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
    nbformat.validate(notebook)
    text: str = nbformat.writes(notebook)
    return text + "\n"


def main() -> None:
    """Build all, or check all."""
    is_check = "--check" in sys.argv[1:]
    stale = []
    for source in sorted((NOTEBOOKS / "src").glob("*.py")):
        target = NOTEBOOKS / f"{source.stem}.ipynb"
        text = build(source)
        if target.exists() and target.read_text(encoding="utf-8") == text:
            continue
        stale.append(target.name)
        if not is_check:
            target.write_text(text, encoding="utf-8")
    if is_check and stale:
        sys.exit(f"Out of step with notebooks/src: {', '.join(stale)}. Run `make notebooks`.")


if __name__ == "__main__":
    main()
