"""What docs/crashlab.md shows is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs" / "crashlab.md"


def test_the_examples(tmp_path: Path, capsys: Any) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": "docs"}
    shown = 0
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, "docs/crashlab.md", "exec"), names)
        else:
            assert block in capsys.readouterr().out
            shown += 1
    assert shown == 1
    assert len(blocks) == 4
