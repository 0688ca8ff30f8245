"""Logs: JSON through a queue, levels, rotation, ids on each line, and no secrets."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lesson15 import BatchProcessor
from lesson15.logs import get_logger
from lesson15.monitoring.json_logs import KEPT_FILES, json_logs
from tests.service.conftest import ServerProcess, write_documents

log = get_logger("lesson15.test")


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    kept = {}
    for name in ("lesson15", "uvicorn"):
        logger = logging.getLogger(name)
        kept[name] = (logger.handlers[:], logger.level, logger.propagate)
    yield
    for name, (handlers, level, propagate) in kept.items():
        logger = logging.getLogger(name)
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_lines_with_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log"
    with json_logs("WARNING", file, ("uvicorn",)):
        log.info("too quiet")
        log.warning("heard", number=3, text="höher")
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            log.exception("failed")
        logging.getLogger("uvicorn.error").error("from %s", "elsewhere")
    heard, failed, foreign = lines(file)
    assert (heard["event"], heard["level"], heard["number"]) == ("heard", "warning", 3)
    assert heard["text"] == "höher"
    assert "ZeroDivisionError" in failed["exception"]
    assert (foreign["event"], foreign["level"]) == ("from elsewhere", "error")
    assert capsys.readouterr().err == file.read_text()


def test_rotation(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with json_logs("INFO", file, max_file_bytes=2000):
        for number in range(300):
            log.info("line", number=number)
    files = sorted(tmp_path.iterdir())
    assert len(files) == KEPT_FILES + 1
    assert all(path.stat().st_size <= 2000 for path in files)
    assert lines(file)[-1]["number"] == 299


SECRETS = {
    "api_key": "l15_0123456789ab_abc", "password": "hunter2", "authorization": "Bearer xyz",
    "note": "sent l15_0123456789ab_Zm9v-_x with it", "url": "https://me:hunter2@example.org/x",
    "header": "Authorization: Bearer hunter2",
}  # fmt: skip


def test_secrets_are_hidden(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with json_logs("INFO", tmp_path / "log"):
        log.info("event l15_0123456789ab_abc", **SECRETS)
        logging.getLogger("lesson15.other").warning("key l15_0123456789ab_%s", "abc")
    text = (tmp_path / "log").read_text()
    for secret in ("hunter2", "xyz", "_abc", "Zm9v"):
        assert secret not in text
    assert "https://me:***@example.org/x" in text
    assert text.count("***") == len(SECRETS) + 2


async def test_each_line_names_batch_and_document(
    docs: Path, make: Callable[..., BatchProcessor], tmp_path: Path
) -> None:
    with json_logs("INFO", tmp_path / "log"):
        await make().process_batch([docs], "b")
        log.info("after")
    *during, after = lines(tmp_path / "log")
    assert len(during) == 3  # one retried and set aside, the empty one set aside at once
    for line in during:
        assert line["batch_id"] == "b"
        assert Path(line["doc_id"]).name in ("empty.txt", "broken.json")
        assert Path(line["doc_id"]).name in line["error"]
    assert "batch_id" not in after


def test_the_log_of_a_server(processes: Callable[..., ServerProcess], tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "docs", 2)
    (docs / "empty.txt").touch()
    server = processes(
        "--allow", docs,
        LESSON15_SERVICE_LOG_FORMAT="json", LESSON15_SERVICE_LOG_FILE=str(tmp_path / "log"),
    )  # fmt: skip
    server.start()
    fay = server.client("fay")
    fay.process(docs, batch_id="b")
    fay.wait("b")
    fay.get("/batch/list", params={"q": fay.key})
    server.stop(signal.SIGTERM)
    written = lines(tmp_path / "log")
    requests = [line for line in written if line["event"] == "request"]
    assert {"method", "path", "status", "milliseconds", "user"} <= requests[0].keys()
    (aside,) = [line for line in written if line["event"] == "document set aside"]
    assert aside["batch_id"] == "b"
    assert aside["doc_id"].endswith("empty.txt")
    assert any("Uvicorn running" in line["event"] for line in written)
    assert fay.key is not None
    everything = (tmp_path / "log").read_text() + server.errors.read_text()
    assert fay.key not in everything
    assert fay.key.rpartition("_")[2] not in everything
