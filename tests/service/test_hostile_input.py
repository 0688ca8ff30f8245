"""Path traversal, links, archives that unfold to gigabytes, and input without end."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lesson15.documents import parsing
from lesson15.documents.parsed import ParseOptions
from lesson15.errors import OutsideRootsError
from tests.service.conftest import Client, Running, serve_in_thread, write_documents


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret.txt").write_text("The vault opens at nine. " * 20)
    return folder


def test_paths_outside_are_refused(
    server: Running, alice: Client, shared: Path, outside: Path
) -> None:
    beside = shared.parent / f"{shared.name}-beside"
    write_documents(beside, 1)
    (shared / "way-out").symlink_to(outside)
    (shared / "file-out.txt").symlink_to(outside / "secret.txt")
    paths = [
        "/etc/passwd", "/", "..", "../../../../etc/passwd", "x/../../../..", outside,
        outside / "secret.txt", outside / "absent.txt", shared / ".." / beside.name, beside,
        shared / "way-out", shared / "way-out" / "secret.txt", shared / "file-out.txt",
        shared / "way-out" / "absent.txt", server.state, "/proc/self/environ", "a\0b",
        "/" + "x" * 4000,
    ]  # fmt: skip
    try:
        for path in paths:
            answer = alice.process(shared, path, batch_id="out")
            assert answer.status_code == 403, path
            assert "outside of the folders" in answer.json()["detail"]
    finally:
        (shared / "way-out").unlink()
        (shared / "file-out.txt").unlink()


def test_links_in_a_folder_lead_nowhere(tmp_path: Path, outside: Path) -> None:
    docs = write_documents(tmp_path / "docs", 2)
    (docs / "link.txt").symlink_to(outside / "secret.txt")
    (docs / "folder").symlink_to(outside)
    (docs / "within.txt").symlink_to(docs / "d0000.txt")
    with serve_in_thread(tmp_path / "state", allowed_roots=(docs,)) as server:
        mallory = server.client("mallory")
        mallory.process(docs, batch_id="b")
        detail = mallory.wait("b")
        assert (detail["processed_docs"], detail["failed_docs"]) == (3, 1)
        (failure,) = mallory.get("/batch/failures/b").json()["failures"]
        assert failure["doc_id"].endswith("link.txt")
        assert "outside" in failure["error"]
        hits = mallory.get("/batch/search/b", params={"q": "vault opens nine", "k": 100})
        assert "vault" not in json.dumps(hits.json()["hits"])


def test_a_link_swapped_at_the_last_moment(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = write_documents(tmp_path / "docs", 1)
    victim = docs / "d0000.txt"
    real_open = os.open

    def swap_and_open(path: str, *arguments: Any) -> int:
        victim.unlink()
        victim.symlink_to(outside / "secret.txt")
        return real_open(path, *arguments)

    options = ParseOptions(roots=[str(docs)])
    assert parsing.parse_document(str(victim), options).chunks
    monkeypatch.setattr(parsing.os, "open", swap_and_open)
    with pytest.raises(OutsideRootsError):
        parsing.parse_document(str(victim), options)


def docx(*parts: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts:
            archive.writestr(name, data)
    return packed.getvalue()


BODY = (
    b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
)


def bomb(megabytes: int = 400) -> bytes:
    """A Word file of some 400 kB whose text is 400 MB."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("word/document.xml", "w") as part,
    ):
        part.write(BODY)
        for _ in range(megabytes):
            part.write(b" " * 1024 * 1024)
    return packed.getvalue()


def lying(data: bytes) -> bytes:
    """The same, with a directory that says the text is of 1,000 bytes."""
    changed = bytearray(data)
    entry = changed.rindex(b"PK\x01\x02")
    struct.pack_into("<I", changed, entry + 24, 1000)
    return bytes(changed)


def test_bombs_are_set_aside_by_name(server: Running) -> None:
    user = server.client("bomber")
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    laughs = f'<!DOCTYPE x [<!ENTITY l0 "ha">{entities}]><x>&l11;</x>'.encode()
    answer = user.upload(
        bomb__docx=bomb(),
        lying__docx=lying(bomb(50)),
        laughs__docx=docx(("word/document.xml", laughs), ("[Content_Types].xml", laughs)),
        deep__json="[" * 200_000,
        good__txt="Nothing but words. " * 20,
    )
    assert answer.status_code == 200
    user.process(".", batch_id="b")
    detail = user.wait("b")
    assert (detail["processed_docs"], detail["failed_docs"]) == (1, 4)
    errors = {f["doc_id"]: f["error"] for f in user.get("/batch/failures/b").json()["failures"]}
    assert "over the limit" in errors["bomb.docx"]
    assert "not valid" in errors["lying.docx"]
    assert "not valid" in errors["laughs.docx"]


@pytest.mark.parametrize(
    "name",
    ["../up.txt", "/etc/cron.d/x.txt", "a\\b.txt", ".hidden.txt", "x.zip", "x", "x.txt/", "..",
     "a\x7f.txt", "é" * 150 + ".txt", "a\u202etxt.txt"],
)  # fmt: skip
def test_names_of_uploads(server: Running, name: str) -> None:
    user = server.client("names")
    answer = user.post("/files", files=[("files", (name, b"x"))])
    assert answer.status_code == 422, answer.text
    assert "cannot be the name of an upload" in answer.json()["detail"]
    assert list(server.files("names").iterdir()) == []


def test_an_upload_never_follows_a_link(server: Running, outside: Path) -> None:
    user = server.client("linker")
    user.get("/files")
    (server.files("linker") / "a.txt").symlink_to(outside / "secret.txt")
    assert user.upload(a__txt="mine").status_code == 200
    assert "vault" in (outside / "secret.txt").read_text()
    assert not (server.files("linker") / "a.txt").is_symlink()


def test_sizes_of_uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LESSON15_MAX_DOCUMENT_BYTES", "1000")
    limits = {"max_request_bytes": 20_000, "max_upload_files": 3, "max_user_bytes": 1500}
    with serve_in_thread(tmp_path / "state", **limits) as server:
        user = server.client("big")
        assert user.upload(a__txt="x" * 1001).status_code == 413
        assert user.upload(a__txt="x" * 30_000).status_code == 413
        assert user.upload(a__txt="x", b__txt="x", c__txt="x", d__txt="x").status_code == 400
        assert user.upload(a__txt="x" * 900).status_code == 200
        assert user.upload(b__txt="x" * 900).status_code == 413
        assert user.upload(a__txt="y" * 1000).status_code == 200  # in place of the first
        assert user.post("/files", data={"files": "text"}).status_code in (400, 422)
        assert user.post("/files", files=[("other", ("a.txt", b"x"))]).status_code == 422
        assert user.post("/files", content=b"junk").status_code == 422
        assert user.post(
            "/files", content=b"junk", headers={"content-type": "multipart/form-data"}
        ).status_code == 400  # fmt: skip
        assert [path.name for path in server.files("big").iterdir()] == ["a.txt"]


def test_bodies_without_end(server: Running, alice: Client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'{"doc_paths": ["'
        for _ in range(1000):
            sent += 1024 * 1024
            yield b"x" * 1024 * 1024

    try:
        answer = alice.post(
            "/batch/process", content=endless(), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 413
    except (
        httpx.WriteError,
        httpx.ReadError,
    ):  # the server closed the connection, which is as good
        pass
    assert sent < 100 * 1024 * 1024
    long = alice.post("/batch/process", content=b"[" * 9_000_000)
    assert long.status_code == 413
    deep = alice.post("/batch/process", content=b"[" * 100_000)
    assert deep.status_code == 422
    assert alice.get("/batch/list").status_code == 200
