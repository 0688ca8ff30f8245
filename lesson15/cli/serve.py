"""Commands of the service: serve, web, keys."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lesson15.cli.common import AsJson, app, print_json
from lesson15.errors import MissingDependencyError
from lesson15.settings import Settings

if TYPE_CHECKING:
    from lesson15.api.keys import KeyStore
    from lesson15.api.settings import ServiceSettings

keys_app = typer.Typer(help="API keys of the service.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
ServiceDir = Annotated[
    Path | None, typer.Option("--state-dir", help="Folder of the service's state.")
]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port.")] = None,
    state_dir: ServiceDir = None,
    allow: Annotated[
        list[Path] | None, typer.Option(help="Folder that every user may process; repeatable.")
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file; turns on TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its private key.")] = None,
) -> None:
    """Serve batches over HTTP; LESSON15_SERVICE_* has further settings."""
    settings = _settings(
        host=host,
        port=port,
        state_dir=state_dir,
        allowed_roots=tuple(allow) if allow else None,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
    )
    try:
        from lesson15.api.server import serve as run_server
    except ImportError as error:
        raise MissingDependencyError(
            feature="lesson15 serve", package="lesson15[service]"
        ) from error
    run_server(settings, Settings())


@app.command()
def web(
    service_url: Annotated[
        str, typer.Option(envvar="LESSON15_WEB_SERVICE_URL", help="Where `lesson15 serve` is.")
    ] = "http://127.0.0.1:8000",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = 8501,
    base_path: Annotated[str, typer.Option(help="Path of the page behind a proxy.")] = "",
) -> None:
    """Serve the page for people, which talks to a running service."""
    if find_spec("streamlit") is None:
        raise MissingDependencyError(feature="lesson15 web", package="lesson15[service]")
    page = Path(__file__).parents[1] / "web" / "page.py"
    options = {
        "server.address": host,
        "server.port": port,
        "server.baseUrlPath": base_path,
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    os.environ["LESSON15_WEB_SERVICE_URL"] = service_url
    command = [sys.executable, "-m", "streamlit", "run", str(page), *arguments]
    os.execv(sys.executable, command)  # noqa: S606 - this very interpreter, and no shell


@keys_app.command("add")
def add_key(
    user: Annotated[str, typer.Argument(help="Name of the user.")],
    role: Annotated[str, typer.Option(help="student, instructor or admin.")] = "student",
    state_dir: ServiceDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key for a user; it is shown this once."""
    from lesson15.api.keys import Role
    from lesson15.errors import UnknownNameError

    if role not in list(Role):
        raise UnknownNameError(what="role", name=role, choices=", ".join(Role))
    key, info = _keys(state_dir).add(user, Role(role))
    if as_json:
        print_json({"key": key, **asdict(info)})
    else:
        print(key)


@keys_app.command("list")
def list_keys(state_dir: ServiceDir = None, as_json: AsJson = False) -> None:
    """List all keys ever made, without their secrets."""
    found = _keys(state_dir).list()
    if as_json:
        print_json({"keys": [asdict(info) for info in found]})
        return
    for info in found:
        made = datetime.fromtimestamp(info.created_at, UTC)
        state = "revoked" if info.revoked_at else "valid"
        print(f"{info.key_id}  {info.user}  {info.role}  {made:%Y-%m-%d}  {state}")


@keys_app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `keys list` shows it.")],
    state_dir: ServiceDir = None,
) -> None:
    """Make a key invalid at once."""
    _keys(state_dir).revoke(key_id)
    print(f"{key_id} is revoked.")


def _settings(**given: Any) -> ServiceSettings:
    from lesson15.api.settings import ServiceSettings

    return ServiceSettings(**{name: value for name, value in given.items() if value is not None})


def _keys(state_dir: Path | None) -> KeyStore:
    from lesson15.api.database import Database, database_path
    from lesson15.api.keys import KeyStore

    return KeyStore(Database(database_path(_settings(state_dir=state_dir).state_dir)))
