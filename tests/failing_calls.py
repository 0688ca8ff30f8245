"""Calls that fail as they do in the world: real clients against a local server or a closed port."""

from __future__ import annotations

import asyncio
import http.client
import socket
import sqlite3
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    """GET /status/429?Retry-After=3 answers so; /hang, /cut and /garble do what they say."""

    over: Event

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        what = path.strip("/").split("/")
        if what[0] == "status":
            body = b'{"__type": "ThrottlingException"}' if "throttle" in what else b"{}"
            self.send_response(int(what[1]))
            for pair in filter(None, query.split("&")):
                name, _, value = pair.partition("=")
                self.send_header(name, value.replace("+", " "))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        elif what[0] == "hang":
            self.over.wait(60)
        elif what[0] == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half an ans")
        elif what[0] == "garble":
            self.wfile.write(b"this is not HTTP\r\n\r\n")
        self.close_connection = True

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def failing_server() -> Iterator[str]:
    """The URL of a server that fails as it is asked to."""
    _Handler.over = Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        _Handler.over.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


def closed_port() -> int:
    """A port where nobody listens."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def raised_by(call: Callable[[], object]) -> BaseException:
    """What ``call`` raises; its traceback is dropped, so that sockets are closed."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test is about
        return error.with_traceback(None)
    raise AssertionError("the call was meant to fail")


def by_httpx(url: str) -> object:
    import httpx

    return httpx.get(url, timeout=0.3, trust_env=False).raise_for_status()


def by_requests(url: str) -> object:
    import requests

    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(url, timeout=0.3)
        answer.raise_for_status()
        return answer


def by_urllib3(url: str) -> object:
    import urllib3

    with urllib3.PoolManager(timeout=0.3, retries=0) as pool:
        return pool.request("GET", url)


def by_urllib(url: str) -> object:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=0.3) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        error.close()
        raise


def by_http_client(url: str) -> object:
    host = url.removeprefix("http://").partition("/")[0]
    with closing(http.client.HTTPConnection(host, timeout=0.3)) as connection:
        connection.request("GET", url)
        return connection.getresponse().read()


def by_aiohttp(url: str) -> object:
    import aiohttp

    async def get() -> object:
        timeout = aiohttp.ClientTimeout(0.3)
        session = aiohttp.ClientSession(timeout=timeout, raise_for_status=True)
        async with session, session.get(url) as answer:
            return await answer.read()

    return asyncio.run(get())


def by_botocore(url: str, **options: Any) -> object:
    """A call of AWS Bedrock, whose address is ``url``."""
    import botocore.config
    import botocore.session

    session = botocore.session.get_session()
    session.set_credentials("key", "secret")
    config = botocore.config.Config(
        connect_timeout=0.3, read_timeout=0.3, retries={"max_attempts": 0}, **options
    )
    client = session.create_client("dynamodb", "eu-west-1", endpoint_url=url, config=config)
    with closing(client):
        return client.list_tables()


def by_redis(port: int) -> object:
    import redis

    with closing(redis.Redis(port=port, socket_timeout=0.3, retry=None)) as client:
        return client.ping()


def by_kombu(port: int) -> object:
    import kombu

    with kombu.Connection(f"amqp://127.0.0.1:{port}//", connect_timeout=0.3) as connection:
        return connection.ensure_connection(max_retries=1, interval_start=0, timeout=0.1)


def by_grpc(address: str) -> object:
    import grpc

    with grpc.insecure_channel(address) as channel:
        return channel.unary_unary("/a.B/C")(b"", timeout=5)


def by_socket(port: int) -> object:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=0.3)) as connection:
        return connection.recv(1)


def by_name_service() -> object:
    return socket.getaddrinfo("no-such-host.invalid", 80)


def by_tls(port: int) -> object:
    """TLS with a server that speaks none."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=0.3)) as connection:
        return ssl.create_default_context().wrap_socket(connection, server_hostname="x")


@contextmanager
def untrusted_server(folder: Path) -> Iterator[int]:
    """The port of a TLS server whose certificate nobody has signed but itself."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed: the test is over
                return
            with connection:
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:  # the client did not like the certificate, as it should not
                    continue

    thread = Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def full_database(path: Path) -> object:
    """SQLite, out of space."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA max_page_count = 2")
        database.execute("CREATE TABLE t (x)")
        for _ in range(100):
            database.execute("INSERT INTO t VALUES (zeroblob(4000))")
        return None


def locked_database(path: Path) -> object:
    """SQLite, while another connection writes."""
    with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(path, timeout=0)) as two:
        one.execute("BEGIN EXCLUSIVE")
        return two.execute("CREATE TABLE t (x)")
