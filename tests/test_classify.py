"""Errors of the world and their rows of the policy table, raised by real calls where it can be."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from lesson15 import RateLimited, ServiceUnavailable, errors
from lesson15.recovery import POLICY, Trouble, classify
from tests import failing_calls as calls

NETWORK, GONE, MEMORY, PARSE, SYSTEM = (row.name for row in POLICY)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with calls.failing_server() as url:
        yield url


CLIENTS = [
    calls.by_httpx, calls.by_requests, calls.by_urllib, calls.by_aiohttp, calls.by_botocore,
]  # fmt: skip
STATUSES = [
    (408, NETWORK, 3), (425, NETWORK, 3), (429, NETWORK, 3), (500, NETWORK, 3), (502, NETWORK, 3),
    (503, NETWORK, 3), (504, NETWORK, 3), (529, NETWORK, 3), (501, PARSE, 0), (505, PARSE, 0),
    (400, PARSE, 0), (404, PARSE, 0), (413, PARSE, 0), (422, PARSE, 0), (401, SYSTEM, 0),
    (402, SYSTEM, 0), (403, SYSTEM, 0),
]  # fmt: skip


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
@pytest.mark.parametrize(("status", "name", "retries"), STATUSES)
def test_http_statuses(
    url: str, client: Callable[[str], object], status: int, name: str, retries: int
) -> None:
    decision = classify(calls.raised_by(lambda: client(f"{url}/status/{status}")))
    assert (decision.name, decision.retries) == (name, retries)


HTTP = [*CLIENTS, calls.by_urllib3, calls.by_http_client]


# botocore takes half an answer for a whole one, aiohttp makes a status 400 out of nonsense.
TOLERANT = {(calls.by_botocore, "cut"), (calls.by_aiohttp, "garble")}


@pytest.mark.parametrize("client", HTTP, ids=lambda client: client.__name__)
def test_no_answer_over_http(url: str, client: Callable[[str], object]) -> None:
    for address, trouble in (
        (f"http://127.0.0.1:{calls.closed_port()}/", Trouble.UNAVAILABLE),
        ("http://no-such-host.invalid/", Trouble.UNAVAILABLE),
        (f"{url}/hang", None),
        (f"{url}/cut", None),
        (f"{url}/garble", None),
    ):
        if (client, address.rpartition("/")[2]) in TOLERANT:
            continue
        error = calls.raised_by(lambda address=address: client(address))  # type: ignore[misc]
        decision = classify(error)
        assert (decision.name, decision.retries) == (NETWORK, 3), (address, repr(error))
        assert trouble in (None, decision.trouble), (address, repr(error))


@pytest.mark.parametrize("client", HTTP[:5], ids=lambda client: client.__name__)
def test_a_certificate_that_is_not_trusted(tmp_path: Path, client: Callable[[str], object]) -> None:
    with calls.untrusted_server(tmp_path) as port:
        error = calls.raised_by(lambda: client(f"https://localhost:{port}/"))
    assert classify(error).name == SYSTEM, repr(error)


def test_other_protocols(url: str) -> None:
    port, closed = int(url.rpartition(":")[2]), calls.closed_port()
    mute = socket.create_server(("127.0.0.1", 0))
    for call in (
        lambda: calls.by_redis(closed),
        lambda: calls.by_redis(mute.getsockname()[1]),
        lambda: calls.by_kombu(closed),
        lambda: calls.by_grpc(f"127.0.0.1:{closed}"),
        lambda: calls.by_socket(closed),
        lambda: calls.by_socket(mute.getsockname()[1]),
        lambda: calls.by_tls(port),
        calls.by_name_service,
    ):
        error = calls.raised_by(call)  # type: ignore[arg-type]
        assert classify(error).name == NETWORK, repr(error)
    mute.close()


def test_aws_throttles_with_status_400(url: str) -> None:
    error = calls.raised_by(lambda: calls.by_botocore(f"{url}/status/400/throttle"))
    assert classify(error).trouble is Trouble.RATE_LIMITED, repr(error)


def test_aws_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    botocore_session = pytest.importorskip("botocore.session")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = botocore_session.get_session().create_client("s3", "eu-west-1")
    assert classify(calls.raised_by(client.list_buckets)).name == SYSTEM
    client.close()


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


ERRNOS = [
    *((number, NETWORK) for number in (
        errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE,
        errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ESTALE,
    )),
    *((number, MEMORY) for number in (errno.ENOMEM, errno.EMFILE, errno.ENFILE)),
    *((number, SYSTEM) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)),
    *((number, GONE) for number in (errno.ENOENT, errno.ENOTDIR)),
    *((number, PARSE) for number in (errno.EACCES, errno.EISDIR, errno.EINVAL)),
]  # fmt: skip


@pytest.mark.parametrize(("number", "name"), ERRNOS)
def test_error_numbers(number: int, name: str) -> None:
    assert classify(os_error(number)).name == name
    assert classify(os_error(number)).lower_concurrency is (name == MEMORY)


OWN = [
    (TimeoutError(), NETWORK, 3),
    (ConnectionResetError(), NETWORK, 3),
    (errors.StepTimeoutError(step="embed", seconds=1, setting="X"), NETWORK, 3),
    (RateLimited(retry_after=2), NETWORK, 3),
    (ServiceUnavailable(), NETWORK, 3),
    (errors.InvalidAnswerError(embedder="e", detail="no"), NETWORK, 3),
    (FileNotFoundError(), GONE, 0),
    (errors.DocumentNotFoundError(path="x"), GONE, 0),
    (MemoryError(), MEMORY, 5),
    (errors.OutOfMemoryError(path="x", detail="y"), MEMORY, 5),
    (errors.EmptyDocumentError(path="x"), PARSE, 0),
    (errors.UnsupportedFormatError(path="x", suffix="y", types="z"), PARSE, 0),
    (errors.EncryptedDocumentError(path="x"), PARSE, 0),
    (errors.DocumentTooLargeError(path="x", size=2, limit=1), PARSE, 0),
    (errors.OutsideRootsError(path="x"), PARSE, 0),
    (errors.NoTextError(path="x", detail="y"), PARSE, 0),
    (errors.BinaryDocumentError(path="x", expected="y"), PARSE, 0),
    (errors.RefusedTextError(embedder="e", characters=1, detail="d"), PARSE, 0),
    (errors.ParseTimeoutError(path="x", seconds=1), PARSE, 1),
    (errors.TruncatedDocumentError(path="x", detail="y"), PARSE, 1),
    (errors.InvalidResultError(path="x", detail="y"), PARSE, 1),
    (ValueError("a bug in a plugin"), PARSE, 1),
    (PermissionError(), PARSE, 1),
    (errors.CheckpointWriteError(path="x", detail="y"), SYSTEM, 0),
    (errors.EmbeddingModelError(model="x", detail="y"), SYSTEM, 0),
    (errors.EmbedderRefusedError(model="x", detail="y"), SYSTEM, 0),
    (errors.ServiceOutageError(embedder="x", seconds=1, detail="y"), SYSTEM, 0),
    (errors.RepeatedCallError(TimeoutError(), 4), NETWORK, 0),
    (errors.RepeatedCallError(MemoryError(), 4), MEMORY, 0),
]


@pytest.mark.parametrize(("error", "name", "retries"), OWN)
def test_own_and_builtin_errors(error: Exception, name: str, retries: int) -> None:
    decision = classify(error)
    assert (decision.name, decision.retries) == (name, retries)


def test_too_many_open_files(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    try:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 3, hard)
        )

        def open_many() -> None:
            while True:
                held.append((tmp_path / "x").open("a"))

        error = calls.raised_by(open_many)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for file in held:
            file.close()
    assert (classify(error).name, classify(error).lower_concurrency) == (MEMORY, True)


def test_memory_of_numpy_and_torch() -> None:
    import numpy as np
    import torch

    for call in (lambda: np.ones(2**58), lambda: torch.empty(2**58)):
        error = calls.raised_by(call)
        assert classify(error).name == MEMORY, repr(error)
    assert classify(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")).name == MEMORY
    assert classify(RuntimeError("CUDA error: out of memory")).name == MEMORY
    assert classify(RuntimeError("shapes do not match")).name == PARSE


def test_memory_of_a_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    error = calls.raised_by(lambda: torch.empty(2**42, device="cuda"))
    assert (type(error).__name__, classify(error).name) == ("OutOfMemoryError", MEMORY)


def test_sqlite(tmp_path: Path) -> None:
    assert classify(calls.raised_by(lambda: calls.full_database(tmp_path / "a"))).name == SYSTEM
    assert classify(calls.raised_by(lambda: calls.locked_database(tmp_path / "b"))).name == NETWORK
    assert classify(
        calls.raised_by(lambda: calls.full_database(tmp_path / "no" / "c"))
    ).name == SYSTEM  # fmt: skip


class RateLimitError(Exception):
    """As openai, anthropic and others call it; the status is an attribute."""

    status_code = 429


class APIConnectionError(Exception):
    """As openai and anthropic call it."""


class InsufficientQuotaError(RateLimitError):
    code = "insufficient_quota"


def test_clients_of_services_by_name() -> None:
    assert classify(RateLimitError()).trouble is Trouble.RATE_LIMITED
    assert classify(APIConnectionError()).trouble is Trouble.UNAVAILABLE
    assert classify(InsufficientQuotaError()).name == SYSTEM  # waiting does not fill an account


# --- chains and groups ------------------------------------------------------------------------


def wrapped(inner: BaseException, how: str) -> BaseException:
    try:
        try:
            raise inner
        except type(inner) as error:
            if how == "from":
                raise RuntimeError("embedding failed") from error
            if how == "from None":
                raise RuntimeError("embedding failed") from None
            raise RuntimeError("embedding failed")  # noqa: B904 - the implicit chain is the case
    except RuntimeError as outer:
        return outer


def test_causes_are_asked(url: str) -> None:
    limited = calls.raised_by(lambda: calls.by_httpx(f"{url}/status/429?Retry-After=4"))
    for how in ("from", "implicitly"):
        decision = classify(wrapped(wrapped(limited, how), how))
        assert (decision.name, decision.retry_after) == (NETWORK, 4)
    assert classify(wrapped(limited, "from None")).name == PARSE


def test_the_explicit_cause_goes_before_the_context() -> None:
    error = RuntimeError("both")
    error.__context__ = TimeoutError()
    error.__cause__ = OSError(errno.ENOSPC, "full")
    assert classify(error).name == SYSTEM


def test_a_document_at_fault_stays_so_whatever_the_cause() -> None:
    error = errors.MalformedDocumentError(path="x", expected="y", detail="z")
    error.__cause__ = TimeoutError()
    assert classify(error).name == PARSE


def test_a_missing_file_of_a_library_does_not_skip_the_document() -> None:
    assert classify(wrapped(FileNotFoundError("tokenizer.json"), "from")).name == PARSE


def test_a_circle_of_causes_ends() -> None:
    one, two = RuntimeError("1"), RuntimeError("2")
    one.__cause__, two.__cause__ = two, one
    assert classify(one).name == PARSE


@pytest.mark.parametrize(
    ("members", "name", "retries"),
    [
        ([TimeoutError(), TimeoutError()], NETWORK, 3),
        ([TimeoutError(), OSError(errno.ENOSPC, "full")], SYSTEM, 0),
        ([TimeoutError(), errors.EmptyDocumentError(path="x"), ValueError()], PARSE, 0),
        ([MemoryError(), TimeoutError()], MEMORY, 5),
        ([FileNotFoundError(), TimeoutError()], NETWORK, 3),
        ([ExceptionGroup("inner", [TimeoutError(), MemoryError()])], MEMORY, 5),
    ],
)
def test_the_worst_of_a_group_decides(members: list[Exception], name: str, retries: int) -> None:
    decision = classify(ExceptionGroup("several", members))
    assert (decision.name, decision.retries) == (name, retries)


# --- when to come back ------------------------------------------------------------------------


def http_date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("Retry-After=7", 7),
        ("Retry-After=0", 0),
        ("Retry-After=1.5", 1.5),
        ("retry-after-ms=250&Retry-After=1", 0.25),
        ("Retry-After=soon", None),
        ("Retry-After=-3", None),
        ("x-ratelimit-reset-requests=1s&x-ratelimit-remaining-requests=5"
         "&x-ratelimit-reset-tokens=6m30s&x-ratelimit-remaining-tokens=0", 390),
        ("x-ratelimit-reset-tokens=20ms", 0.02),
        ("ratelimit-reset=12", 12),
        ("", None),
    ],
)  # fmt: skip
def test_retry_after(
    url: str, client: Callable[[str], object], headers: str, expected: float | None
) -> None:
    error = calls.raised_by(lambda: client(f"{url}/status/429?{headers}"))
    assert classify(error).retry_after == expected


def test_retry_after_as_a_date(url: str) -> None:
    date = http_date(30).replace(" ", "+")
    error = calls.raised_by(lambda: calls.by_httpx(f"{url}/status/503?Retry-After={date}"))
    seconds = classify(error).retry_after
    assert seconds is not None
    assert 28 <= seconds <= 31


def test_the_servers_own_clock_counts() -> None:
    """A date is compared with the answer's date: the clocks of the two machines may differ."""
    import httpx

    headers = {"Date": http_date(-86400), "Retry-After": http_date(-86400 + 20)}
    request = httpx.Request("GET", "http://x/")
    answer = httpx.Response(429, headers=headers, request=request)
    error = calls.raised_by(answer.raise_for_status)
    assert classify(error).retry_after == 20


def test_a_reset_may_be_a_point_in_time() -> None:
    error = RateLimitError()
    error.headers = {"X-RateLimit-Reset": str(int(time.time()) + 100)}  # type: ignore[attr-defined]
    seconds = classify(error).retry_after
    assert seconds is not None
    assert 90 < seconds <= 101


# --- plugins ----------------------------------------------------------------------------------

PROGRAM = """
from lesson15.recovery import classify, ErrorRecoveryManager
from lesson15.errors import PluginError
class StrangeError(Exception): pass
print(classify(StrangeError()).name, classify(StrangeError()).retry_after)
try:
    print(ErrorRecoveryManager().retries_for(StrangeError()))
except PluginError as error:
    print("PluginError", "in the group lesson15.transient" in str(error))
"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def hook(error): return 5.0 if type(error).__name__ == 'StrangeError' else None",
         ["network timeout 5.0", "3"]),
        ("hook = 3", ["parse error None", "PluginError True"]),
    ],
)  # fmt: skip
def test_a_plugin_says_what_passes(tmp_path: Path, source: str, expected: list[str]) -> None:
    (tmp_path / "strange.py").write_text(source)
    info = tmp_path / "strange-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lesson15.transient]\nstrange = strange:hook\n")
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == expected
