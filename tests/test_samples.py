"""The sample documents through the real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lesson15 import BatchProcessor, Searcher, verify
from lesson15.doctor import examine
from lesson15.settings import Settings
from tests.conftest import SAMPLES
from tests.crash import oracle

pytestmark = pytest.mark.model

EXPECTED_FAILURES = {
    "empty.txt": "is empty",
    "encrypted.pdf": "protected by a password",
    "malformed.json": "not valid JSON",
    "photo_renamed.txt": "binary data",
    "scanned_no_text.pdf": "no text was found",
    "truncated.docx": "cut short",
    "truncated.pdf": "cut short",
}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import asyncio

    folder = tmp_path_factory.mktemp("state")
    processor = BatchProcessor(state_dir=folder, settings=Settings(retry_delay=0))
    report = asyncio.run(processor.process_batch([SAMPLES], "samples"))
    assert (report["processed_docs"], report["failed_docs"]) == (50, 7)
    found = {Path(failure["doc_id"]).name: failure["error"] for failure in report["failures"]}
    assert found.keys() == EXPECTED_FAILURES.keys()
    for name, part in EXPECTED_FAILURES.items():
        assert part in found[name]
    return folder


def test_every_document_is_indexed_as_the_oracle_says(state: Path) -> None:
    result = verify("samples", state)
    assert result.is_clean, result.faults
    expected = oracle.sequential(SAMPLES, "minilm")
    found = oracle.indexed(state, "samples")
    base = Path.cwd()
    assert {base / name for name in found.vectors} == {Path(name) for name in expected.vectors}


def test_questions_find_their_documents(state: Path) -> None:
    questions = json.loads((SAMPLES.parent / "questions.json").read_text(encoding="utf-8"))
    searcher = Searcher("samples", state)
    for entry in questions:
        best = searcher.search(entry["question"], 1)[0]
        assert best.doc_id.endswith(entry["doc"]), entry["question"]
    searcher.close()


def test_the_doctor_is_content(tmp_path: Path) -> None:
    assert [check for check in examine(tmp_path) if not check["ok"]] == []
    (tmp_path / "file").touch()
    assert not examine(tmp_path / "file")[-1]["ok"]
