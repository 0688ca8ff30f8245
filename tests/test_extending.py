"""The examples of docs/extending.md do what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lesson15.notifications import BatchEnded

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Animals\n\nchat noir\n")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8")
    names: dict[str, Any] = {"__name__": "page"}
    blocks = list(_BLOCK.finditer(text))
    assert len(blocks) >= 8
    for block in blocks:
        above = "\n" * text[: block.start(1)].count("\n")  # errors then name the page's own line
        exec(compile(above + block[1], str(PAGE), "exec"), names)
    names["Printer"]()(BatchEnded("monday", "finished", 1, 1, 0, 0))
    assert "monday: finished" in capsys.readouterr().out
