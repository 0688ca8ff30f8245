"""Faults on demand, over HTTP."""

from __future__ import annotations

from pathlib import Path

from lesson15 import verify
from lesson15.api.keys import Role
from tests.service.conftest import Client, Running, serve_in_thread, write_documents


def test_a_running_batch_is_slowed_and_let_go(server: Running) -> None:
    ines = server.client("ines", Role.INSTRUCTOR)
    ines.get("/files")
    write_documents(server.files("ines"), 300)
    ines.process(".", batch_id="shaky")
    plan = {"seed": 1, "rules": [{"point": "embed", "kind": "delay", "seconds": 0.2}]}
    answer = ines.put("/batch/faults/shaky", json=plan)
    assert answer.json() == {"message": "1 fault rules are in force.", "batch_id": "shaky"}
    ines.wait("shaky", lambda _: bool(ines.get("/batch/faults/shaky").json()["fired"]))
    shown = ines.get("/batch/faults/shaky").json()
    assert shown["plan"]["rules"][0]["kind"] == "delay"
    assert shown["fired"]["embed:delay"] > 0
    assert ines.detail("shaky")["status"] == "running"
    assert ines.delete("/batch/faults/shaky").status_code == 200
    assert ines.wait("shaky")["processed_docs"] == 300
    assert verify("shaky", server.batches("ines")).is_clean


def test_who_may(server: Running, alice: Client, shared: Path, tmp_path: Path) -> None:
    alice.process(shared, batch_id="calm")
    alice.wait("calm")
    refused = alice.put("/batch/faults/calm", json={"rules": []})
    assert refused.status_code == 403
    assert "needs a key with the role instructor" in refused.json()["detail"]
    ines = server.client("ines", Role.INSTRUCTOR)
    assert ines.put("/batch/faults/calm", json={"rules": []}).status_code == 404
    senseless = {"rules": [{"point": "parse", "kind": "disk_full"}]}
    assert ines.put("/batch/faults/calm", json=senseless).status_code == 422
    with serve_in_thread(tmp_path / "state", allowed_roots=(shared,)) as strict:
        boss = strict.client("boss", Role.ADMIN)
        boss.process(shared, batch_id="b")
        answer = boss.put("/batch/faults/b", json={"rules": []})
        assert answer.status_code == 403
        assert "LESSON15_SERVICE_ALLOW_FAULTS" in answer.json()["detail"]
        boss.wait("b")
