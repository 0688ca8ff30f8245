"""Running the service under uvicorn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import uvicorn
from filelock import FileLock, Timeout

from lesson15.api.app import create_app
from lesson15.api.settings import ServiceSettings
from lesson15.errors import ServiceError, ServiceRunningError
from lesson15.logs import log_to_stderr
from lesson15.monitoring.json_logs import json_logs
from lesson15.notifications import check_notifiers
from lesson15.settings import Settings

_GRACE_SECONDS = 3  # open streams would keep the server from ending for ever


def serve(settings: ServiceSettings, engine: Settings) -> None:
    """Serve until SIGINT or SIGTERM; batches are committed then, and go on at the next start.

    Raises:
        ServiceError: a certificate without its key, or the server could not be started.
    """
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise ServiceError(problem="TLS needs both a certificate and its key: give both or none.")
    check_notifiers(engine)
    config = uvicorn.Config(
        create_app(settings, engine),
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=str(settings.tls_key) if settings.tls_key else None,
        ssl_keyfile_password=settings.tls_key_password,
        forwarded_allow_ips=settings.trusted_proxies,
        log_config=None,
        access_log=False,  # the service has its own, which names the user
        server_header=False,
        ws_per_message_deflate=False,  # compressing for each listener costs more than it saves
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    with _only_server(settings.state_dir), _logs(settings):
        server.run()
    if not server.started:
        raise ServiceError(
            problem=f"The server could not be started on {settings.host}:{settings.port}; "
            "the lines above say why."
        )


def _logs(settings: ServiceSettings) -> AbstractContextManager[None]:
    if settings.log_format == "json" or settings.log_file is not None:
        return json_logs(settings.log_level, settings.log_file, ("uvicorn",))
    log_to_stderr(settings.log_level, "uvicorn")
    return nullcontext()


@contextmanager
def _only_server(state_dir: Path) -> Iterator[None]:
    """Hold ``state_dir`` for this server; the kernel drops the lock if the process dies."""
    lock = FileLock(state_dir / "service.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ServiceRunningError(path=state_dir) from None
    try:
        yield
    finally:
        lock.release()
