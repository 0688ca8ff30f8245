"""Fixtures that several tests share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lesson15 import BatchProcessor
from lesson15.settings import Settings
from tests.webhook_receiver import Receiver

SAMPLES = Path(__file__).parent.parent / "data" / "sample_docs"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Twelve documents, two of them bad."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(10):
        text = f"Document {number} is about subject {number * 37}. " * 30
        (folder / f"d{number}.txt").write_text(text, encoding="utf-8")
    (folder / "empty.txt").touch()
    (folder / "broken.json").write_text('{"a": [1, }', encoding="utf-8")
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def make(state: Path) -> Callable[..., BatchProcessor]:
    """Makes processors that embed by hashing and wait for nothing."""

    def make(**options: Any) -> BatchProcessor:
        options.setdefault("settings", Settings(retry_delay=0))
        options.setdefault("state_dir", state)
        options.setdefault("embedder", "hashing")
        return BatchProcessor(
            options.pop("max_concurrent", 4), options.pop("interval", 3), **options
        )

    return make


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
