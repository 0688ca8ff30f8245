"""One user cannot read, resume, search or guess another's batch, files or role."""

from __future__ import annotations

import httpx
import pytest
import websockets.sync.client
from websockets.exceptions import InvalidStatus

from lesson15.api.keys import Role
from tests.service.conftest import Client, Running, serve_in_thread

SECRET = "The vault opens at nine. "
HERS, NOBODYS = "hers", "none"


@pytest.fixture(scope="module")
def hers(server: Running, alice: Client) -> str:
    alice.upload(secret__txt=SECRET * 20)
    alice.process("secret.txt", batch_id=HERS)
    assert alice.wait(HERS)["processed_docs"] == 1
    return HERS


def operations(server: Running) -> list[tuple[str, str]]:
    """Every operation that names a batch, from the service's own description."""
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    return [
        (method, path) for path, item in paths.items() for method in item if "{batch_id}" in path
    ]


@pytest.mark.parametrize("role", [Role.STUDENT, Role.ADMIN])
def test_a_foreign_batch_is_as_unknown_as_one_that_is_not(
    server: Running, hers: str, role: Role
) -> None:
    bob = server.client("bob", role)
    found = operations(server)
    assert len(found) >= 10
    for method, path in found:
        answers = [
            bob.request(
                method, path.replace("{batch_id}", name), params={"q": "vault"},
                json={"rules": []} if method == "put" else None,
            )
            for name in (hers, NOBODYS)
        ]  # fmt: skip
        needs_more = "/faults/" in path and role is Role.STUDENT
        status = 403 if needs_more else 404
        assert [answer.status_code for answer in answers] == [status, status], path
        foreign, unknown = ({k: v for k, v in a.headers.items() if k != "date"} for a in answers)
        assert foreign == unknown
        assert answers[0].text.replace(hers, NOBODYS) == answers[1].text
    for name in (hers, NOBODYS):
        with pytest.raises(InvalidStatus) as refused:
            websockets.sync.client.connect(
                f"{server.url.replace('http', 'ws')}/batch/events/{name}",
                additional_headers={"X-API-Key": bob.key},
            )
        assert refused.value.response.status_code == 404
    assert bob.get("/batch/list").json() == {"batches": [], "total_count": 0}


def test_a_name_in_use_by_another_is_free(server: Running, bob: Client, hers: str) -> None:
    bob.upload(mine__txt="Only weather here. " * 20)
    assert bob.process("mine.txt", batch_id=hers).status_code == 200
    bob.wait(hers)
    answer = bob.get(f"/batch/search/{hers}", params={"q": "vault opens nine", "k": 100})
    text = str(answer.json()["hits"])
    assert "weather" in text
    assert "vault" not in text


def test_files_are_private(server: Running, alice: Client, bob: Client, hers: str) -> None:
    assert "secret.txt" not in bob.get("/files").text
    assert bob.delete("/files/secret.txt").status_code == 404
    assert "secret.txt" in alice.get("/files").text
    there, absent = (
        bob.process(server.files("alice") / name, batch_id="spy")
        for name in ("secret.txt", "absent")
    )
    assert there.status_code == absent.status_code == 403
    assert there.text.replace("secret.txt", "absent") == absent.text
    assert bob.process("../../alice/files/secret.txt", batch_id="spy").status_code == 403
    assert bob.process(server.batches("alice"), batch_id="spy").status_code == 403


def test_roles(server: Running, alice: Client) -> None:
    teacher = server.client("ines", Role.INSTRUCTOR)
    admin = server.client("root", Role.ADMIN)
    for path, allowed in (("/metrics", (teacher, admin)), ("/admin/keys", (admin,))):
        for client in (alice, teacher, admin):
            assert client.get(path).status_code == (200 if client in allowed else 403)
    for client in (teacher, alice):
        assert client.post("/admin/keys", json={"user": "eve", "role": "admin"}).status_code == 403
    # Roles are about the service: nobody sees the batches of others.
    assert admin.get("/batch/list").json()["total_count"] == 0


def test_keys_are_made_and_revoked(server: Running) -> None:
    admin = server.client("root", Role.ADMIN)
    made = admin.post("/admin/keys", json={"user": "gus", "role": "student"}).json()
    gus = Client(server.url, made["key"])
    assert gus.get("/batch/list").status_code == 200
    bearer = httpx.get(
        f"{server.url}/batch/list", headers={"Authorization": f"Bearer {made['key']}"}
    )
    assert bearer.status_code == 200
    assert made["key"] not in admin.get("/admin/keys").text
    assert admin.delete(f"/admin/keys/{made['key_id']}").status_code == 204
    assert gus.get("/batch/list").status_code == 401
    assert admin.delete(f"/admin/keys/{made['key_id']}").status_code == 404
    assert admin.post("/admin/keys", json={"user": "../x", "role": "student"}).status_code == 422
    for path in server.state.glob("service.sqlite*"):
        assert made["key"].rpartition("_")[2].encode() not in path.read_bytes()
    gus.close()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "l15_000000000000_AAAA"},
        {"X-API-Key": "l15"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"X-API-Key": "é".encode()},
    ],
)
def test_without_a_key_nothing_is_told(server: Running, headers: dict[str, str]) -> None:
    with Client(server.url, None) as nobody:
        for method, path in operations(server):
            answer = nobody.request(method, path.replace("{batch_id}", HERS), headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        body = {"files": ("x.txt", b"x")}
        assert nobody.post("/files", files=body, headers=headers).status_code == 401


def test_too_many_requests_and_wrong_keys(tmp_path) -> None:
    limits = {"rate_limit": "5/minute", "failed_login_limit": "3/minute"}
    with serve_in_thread(tmp_path / "state", **limits) as server:
        one, other = server.client("one"), server.client("other")
        answers = [one.get("/batch/list") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
        assert other.get("/batch/list").status_code == 200
        nobody = server.client(None)
        codes = [nobody.get("/batch/list").status_code for _ in range(4)]
        assert codes == [401, 401, 401, 429]


def test_open_streams_and_waiting_batches_are_limited(tmp_path, shared) -> None:
    limits = {"max_listeners_per_user": 0, "max_queued_per_user": 1, "allowed_roots": (shared,)}
    with serve_in_thread(tmp_path / "state", **limits) as server:
        one = server.client("one")
        assert one.process(shared, batch_id="a").status_code == 200
        assert one.process(shared, batch_id="b").status_code == 429
        assert one.get("/batch/events/a").status_code == 429
        one.wait("a")
