"""Functions that save a state: each right one passes, each wrong one loses, with its picture."""

from __future__ import annotations

import asyncio
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from lesson15 import crashlab
from lesson15.crashlab.picture import rows
from tests.crashlab.savers import RIGHT, WRONG, Saver

STATES = [{"done": number, "names": [f"document-{number}"] * number} for number in range(4)]


def judge(saver: Saver, **options: Any) -> crashlab.Result:
    names: dict[str, Any] = {"__name__": "cell"}
    exec(compile(saver.source, f"<{saver.name}>", "exec"), names)
    save = names["save"]

    async def work(folder: Path, promise: Any) -> None:
        for state in STATES[1:]:
            done = save(folder / "state.json", state)
            if inspect.isawaitable(done):
                await done
            promise(state)

    def plain_work(folder: Path, promise: Any) -> None:
        for state in STATES[1:]:
            save(folder / "state.json", state)
            promise(state)

    def recover(folder: Path) -> Any:
        path = folder / "state.json"
        return json.loads(path.read_text()) if path.exists() else None

    def setup(folder: Path, promise: Any) -> None:
        (folder / "state.json").write_text(json.dumps(STATES[0]))
        promise(STATES[0])

    is_async = asyncio.iscoroutinefunction(save)
    return crashlab.explore(work if is_async else plain_work, recover, setup=setup, **options)


@pytest.mark.parametrize("saver", RIGHT, ids=lambda saver: saver.name)
def test_a_right_one_passes(saver: Saver) -> None:
    result = judge(saver)
    assert result.is_safe, str(result)
    assert result.distinct > 20
    assert not result.sampled
    assert "Safe on all" in str(result)


@pytest.mark.parametrize("saver", WRONG, ids=lambda saver: saver.name)
def test_a_wrong_one_loses(saver: Saver) -> None:
    result = judge(saver)
    assert not result.is_safe
    assert not result.error
    assert not result.unseen
    loser = result.smallest
    assert loser is not None
    assert len({number for number, _ in loser.fates}) <= 2
    assert saver.blamed
    table = list(rows(result, loser))
    cut = next(at for at, row in enumerate(table) if row.kind == "cut")
    suspects = [row for row in table[:cut] if row.kind == "lost"] or table[cut - 1 :]
    assert any(saver.blamed in row.text for row in suspects), str(result)
    assert loser.wrong in result.picture()
    assert "<table>" in result._repr_html_()
