"""The service does what its OpenAPI description says, whatever it is sent."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from lesson15.api.app import create_app
from lesson15.api.keys import Role
from lesson15.api.settings import ServiceSettings
from lesson15.settings import Settings
from tests.service.conftest import Client, serve_in_thread


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Client]:
    limits = {
        "allowed_roots": (shared,), "rate_limit": "1000000/minute", "max_queued_per_user": 10**6,
        "failed_login_limit": "1000000/minute", "allow_faults": True,
    }  # fmt: skip
    with serve_in_thread(tmp_path_factory.mktemp("schema"), **limits) as server:
        client = server.client("root", Role.ADMIN)
        client.upload(a__txt="Words. " * 20)
        client.process("a.txt", batch_id="monday")  # the example of every batch id
        client.wait("monday")
        yield client


def description() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return create_app(ServiceSettings(state_dir=Path(folder)), Settings()).openapi()


# Which names of files are good, and which kinds of faults go with which points, cannot be said in
# OpenAPI: there a refusal is right, too.
REFUSED = {"positive_data_acceptance": {"expected-statuses": ["200", "404", "422"]}}
CONFIG = schemathesis.Config.from_dict(
    {
        "operations": [
            {"include-path": path, "checks": REFUSED}
            for path in ("/files", "/batch/faults/{batch_id}")
        ]
    }
)
schema = schemathesis.openapi.from_dict(description(), config=CONFIG)


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_operation(case: schemathesis.Case, admin: Client) -> None:
    case.call_and_validate(base_url=str(admin.base_url), headers={"X-API-Key": admin.key})
