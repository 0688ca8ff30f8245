"""What a user does with batches over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import websockets.sync.client
from websockets.exceptions import InvalidStatus

from lesson15 import verify
from tests.service.conftest import Client, Running, events, serve_in_thread, write_documents


def test_a_batch_from_start_to_search(server: Running, alice: Client, shared: Path) -> None:
    answer = alice.process(shared, batch_id="monday")
    assert answer.status_code == 200
    assert answer.json() == {
        "message": "The batch is in the queue.", "batch_id": "monday", "total_files": 10
    }  # fmt: skip
    names = [name for name, _ in events(alice, "monday")]
    assert names[-1] == "end"
    assert set(names[:-1]) == {"progress"}
    assert alice.get("/batch/status/monday").json() == {
        "batch_id": "monday", "total_docs": 10, "processed_docs": 8, "failed_docs": 2,
        "progress_percent": 100.0, "eta": 0.0,
    }  # fmt: skip
    detail = alice.detail("monday")
    assert (detail["status"], detail["chunks"], detail["error"]) == ("finished", 8, None)
    assert alice.get("/batch/active").json() == {"active_batches": [], "total_count": 0}
    listed = alice.get("/batch/list").json()
    assert listed == {"batches": [detail], "total_count": 1}
    failures = alice.get("/batch/failures/monday").json()
    assert failures["total_count"] == 2
    assert [Path(f["doc_id"]).name for f in failures["failures"]] == ["broken.json", "empty.txt"]
    rest = alice.get("/batch/failures/monday", params={"offset": 1, "limit": 1}).json()
    assert rest["failures"] == failures["failures"][1:]
    found = alice.get("/batch/search/monday", params={"q": "subject 111", "k": 2}).json()
    assert len(found["hits"]) == 2
    assert found["hits"][0]["doc_id"].endswith("d0003.txt")
    assert verify("monday", server.batches("alice")).is_clean
    # A stream on a batch that has ended: its last state, and the end.
    assert events(alice, "monday") == [("progress", detail), ("end", {})]


def test_a_websocket_says_the_same(server: Running, alice: Client, shared: Path) -> None:
    alice.process(shared, batch_id="socket")
    url = server.url.replace("http", "ws")
    with websockets.sync.client.connect(
        f"{url}/batch/events/socket", additional_headers={"Authorization": f"Bearer {alice.key}"}
    ) as socket:
        messages = [json.loads(message) for message in socket]
    assert messages[-1] == alice.detail("socket")
    for headers, status in (({}, 401), ({"X-API-Key": alice.key}, 404)):
        with pytest.raises(InvalidStatus) as refused:
            websockets.sync.client.connect(f"{url}/batch/events/no", additional_headers=headers)
        assert refused.value.response.status_code == status
        assert json.loads(refused.value.response.body or b"")["status"] == status


def test_upload_process_change_resume(server: Running) -> None:
    carol = server.client("carol")
    answer = carol.upload(
        bees__txt="Honey is harvested in July. " * 20, sea__md="# Tides\n\nTwice."
    )
    assert answer.status_code == 200
    assert [file["name"] for file in answer.json()["files"]] == ["bees.txt", "sea.md"]
    assert carol.process(".", batch_id="mine").json()["total_files"] == 2
    assert carol.wait("mine")["processed_docs"] == 2
    hits = carol.get("/batch/search/mine", params={"q": "honey July", "k": 1}).json()["hits"]
    assert hits[0]["doc_id"] == "bees.txt"
    assert carol.delete("/files/bees.txt").status_code == 204
    assert carol.delete("/files/bees.txt").status_code == 404
    carol.upload(sea__md="Volcanoes. " * 40, broken__json="{")
    again = carol.post("/batch/resume/mine", json={"doc_paths": ["."]})
    assert again.json() == {"message": "The batch goes on.", "batch_id": "mine"}
    detail = carol.wait("mine")
    assert (detail["total_docs"], detail["processed_docs"], detail["failed_docs"]) == (2, 1, 1)
    (failure,) = carol.get("/batch/failures/mine").json()["failures"]
    assert failure["doc_id"] == "broken.json"
    assert str(server.state) not in failure["error"]
    carol.upload(broken__json='["mended"]')
    assert carol.post("/batch/retry-failed/mine").status_code == 200
    assert carol.wait("mine")["processed_docs"] == 2
    assert verify("mine", server.batches("carol")).is_clean
    listed = carol.get("/files").json()
    assert [file["name"] for file in listed["files"]] == ["broken.json", "sea.md"]
    assert listed["total_bytes"] == sum(file["size"] for file in listed["files"])


def test_pause_unpause_cancel_resume(tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "docs", 3000)
    with serve_in_thread(tmp_path / "state", allowed_roots=(docs,), max_running=1) as server:
        dora = server.client("dora")
        dora.process(docs, batch_id="first")
        dora.process(docs / "d0001.txt", batch_id="second")
        assert dora.get("/batch/active").json() == {
            "active_batches": ["first", "second"], "total_count": 2
        }  # fmt: skip
        dora.wait("first", lambda detail: detail["processed_docs"] > 5)
        assert dora.detail("second")["status"] == "queued"
        assert dora.post("/batch/pause/first").status_code == 200
        # A paused batch gives up its place.
        assert dora.wait("second")["status"] == "finished"
        paused = dora.detail("first")
        assert paused["status"] == "paused"
        assert 0 < paused["processed_docs"] < 3000
        assert events(dora, "first") == [("progress", paused), ("end", {})]
        assert dora.post("/batch/pause/first").status_code == 409
        assert dora.post("/batch/retry-failed/first").status_code == 409  # unpause it first
        assert dora.post("/batch/unpause/first").status_code == 200
        dora.wait("first", lambda now: now["processed_docs"] > paused["processed_docs"])
        assert dora.post("/batch/cancel/first").status_code == 200
        assert dora.post("/batch/unpause/first").status_code == 409
        assert dora.post("/batch/cancel/first").status_code == 409
        assert dora.post("/batch/cancel/second").status_code == 409
        dora.wait("first", lambda now: now["status"] == "cancelled")
        assert dora.post("/batch/retry-failed/first").status_code == 200
        assert dora.wait("first")["status"] == "cancelled"  # as it was: there is more to do
        assert dora.post("/batch/resume/first").status_code == 200
        assert dora.wait("first")["processed_docs"] == 3000
        assert verify("first", server.batches("dora")).is_clean


def test_refusals_say_what_to_do(alice: Client, shared: Path) -> None:
    assert alice.process(shared / "d0001.txt", batch_id="twice").status_code == 200
    alice.wait("twice")
    for answer, status, words in (
        (alice.process(shared, batch_id="twice"), 409, "'twice' is finished"),
        (alice.process(shared / "absent.txt", batch_id="x"), 404, "there is no document here"),
        (alice.post("/batch/resume/nope"), 404, "GET /batch/list"),
        (alice.process(shared, batch_id="../x"), 422, "body.batch_id"),
        (alice.post("/batch/process", json={"doc_paths": []}), 422, "body.doc_paths"),
        (alice.post("/batch/process", json={"paths": ["x"]}), 422, "doc_paths"),
        (alice.get("/batch/search/twice", params={"q": "   "}), 422, "query.q"),
        (alice.get("/nowhere"), 404, "Not Found"),
    ):
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status
        assert words in problem["detail"]
    assert alice.get("/batch/process").status_code == 405
    new_id = alice.post("/batch/process", json={"doc_paths": [str(shared)]}).json()["batch_id"]
    assert new_id.startswith("batch-")
    alice.wait(new_id)


def test_damaged_state_is_the_servers_fault(server: Running, alice: Client, shared: Path) -> None:
    alice.process(shared, batch_id="damaged")
    alice.wait("damaged")
    (server.batches("alice") / "damaged" / "checkpoint.json").write_text("{")
    for path in ("/batch/search/damaged?q=x", "/batch/failures/damaged"):
        answer = alice.get(path)
        assert answer.status_code == 503
        assert str(server.state) not in answer.text  # the log says where
    assert alice.get("/batch/list").status_code == 200
