"""The compose files, as far as they can be checked without a container engine."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from lesson15.cli.common import app

DEPLOY = Path(__file__).parents[1] / "deploy"
STACK: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
OURS = ["api", "web", "worker"]


def test_the_whole_stack_is_there() -> None:
    assert SERVICES.keys() >= {
        "api", "web", "worker", "redis", "rabbitmq", "flower", "prometheus", "grafana", "nginx"
    }  # fmt: skip


def test_mounted_files_are_in_the_repository() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), source
            elif not source.startswith("$"):
                assert source in STACK["volumes"]


def test_every_variable_is_in_the_example() -> None:
    example = (DEPLOY / "compose" / "env.example").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yml").read_text(encoding="utf-8")))
    assert used <= set(re.findall(r"^#? ?(\w+)=", example, re.MULTILINE))


@pytest.mark.parametrize("service", OURS)
def test_our_commands_exist_with_their_options(service: str) -> None:
    name, *arguments = shlex.split(SERVICES[service]["command"])
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= known


def test_nginx_is_given_the_names_of_the_network(tmp_path: Path) -> None:
    script = SERVICES["nginx"]["command"][2]
    start, _, _ = script.partition("exec nginx")
    result = tmp_path / "nginx.conf"
    start = start.replace("/tmp/nginx/nginx.conf", str(result)).rstrip(" &")
    start = start.replace("/config/nginx.conf", str(DEPLOY / "nginx.conf"))
    subprocess.run(["sh", "-c", start.replace("/tmp/nginx", str(tmp_path))], check=True)
    text = result.read_text(encoding="utf-8")
    directives = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert not any("127.0.0.1" in line for line in directives)
    assert "server api:8000;" in text
    assert "server web:8501;" in text
    assert "listen 8443 ssl;" in text
    assert "ssl_certificate /tls/certificate.pem;" in text
    assert "ssl_certificate_key /tls/key.pem;" in text
