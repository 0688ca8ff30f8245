"""What the exceptions of common libraries mean, by the names of their classes.

A library that is not installed cannot raise anything, and one that is need not be imported to
recognise what it raised: the top-level package and the name of each class along the method
resolution order are enough. The first entry found along that order decides, so that the entry of a
subclass wins over that of its base.
"""

from __future__ import annotations

import errno

from lesson15.recovery.policy import (
    NETWORK_TIMEOUT,
    OUT_OF_MEMORY,
    RATE_LIMITED,
    REFUSED,
    SYSTEM_ERROR,
    UNAVAILABLE,
    Decision,
)

_BY_PACKAGE: dict[tuple[str, ...], dict[Decision, str]] = {
    ("httpx", "httpx2", "httpcore", "httpcore2"): {
        NETWORK_TIMEOUT: "TimeoutException NetworkError RemoteProtocolError DecodingError",
        UNAVAILABLE: "ConnectError ConnectTimeout ProxyError ConnectionNotAvailable",
        REFUSED: "UnsupportedProtocol LocalProtocolError InvalidURL TooManyRedirects",
    },
    ("requests",): {
        NETWORK_TIMEOUT: "ConnectionError Timeout ChunkedEncodingError ContentDecodingError",
        UNAVAILABLE: "ConnectTimeout ProxyError RetryError",
        REFUSED: "InvalidURL InvalidSchema MissingSchema InvalidHeader TooManyRedirects",
    },
    ("urllib3",): {
        NETWORK_TIMEOUT: "TimeoutError ProtocolError ReadTimeoutError MaxRetryError SSLError "
        "DecodeError IncompleteRead ClosedPoolError",
        UNAVAILABLE: "NewConnectionError ConnectTimeoutError NameResolutionError ProxyError "
        "EmptyPoolError",
        REFUSED: "LocationValueError",
    },
    ("urllib",): {NETWORK_TIMEOUT: "ContentTooShortError"},
    ("http",): {NETWORK_TIMEOUT: "IncompleteRead BadStatusLine", UNAVAILABLE: "CannotSendRequest"},
    ("aiohttp",): {
        NETWORK_TIMEOUT: "ClientConnectionError ClientPayloadError ServerTimeoutError",
        UNAVAILABLE: "ClientConnectorError ConnectionTimeoutError ClientProxyConnectionError",
        SYSTEM_ERROR: "ClientConnectorCertificateError",
        REFUSED: "InvalidURL",
    },
    ("websockets",): {NETWORK_TIMEOUT: "ConnectionClosed"},
    ("redis", "valkey"): {
        NETWORK_TIMEOUT: "ConnectionError TimeoutError TryAgainError",
        UNAVAILABLE: "BusyLoadingError ClusterDownError MasterDownError ReadOnlyError "
        "OutOfMemoryError MaxConnectionsError",
        SYSTEM_ERROR: "AuthenticationError AuthorizationError NoPermissionError",
    },
    ("kombu",): {UNAVAILABLE: "OperationalError ConnectionError ConnectionLimitExceeded"},
    ("amqp",): {
        UNAVAILABLE: "RecoverableConnectionError RecoverableChannelError ConnectionError "
        "ResourceError",
        SYSTEM_ERROR: "AccessRefused NotAllowed",
    },
    ("botocore", "aiobotocore"): {
        NETWORK_TIMEOUT: "HTTPClientError ReadTimeoutError IncompleteReadError "
        "ResponseStreamingError",
        UNAVAILABLE: "EndpointConnectionError ConnectTimeoutError ProxyConnectionError",
        SYSTEM_ERROR: "NoCredentialsError PartialCredentialsError CredentialRetrievalError "
        "NoRegionError TokenRetrievalError UnauthorizedSSOTokenError SSOTokenLoadError",
    },
    ("torch",): {OUT_OF_MEMORY: "OutOfMemoryError"},
}

_ANYWHERE: dict[Decision, str] = {
    RATE_LIMITED: "RateLimitError RateLimitExceeded RateLimitExceededError RateLimitedError "
    "TooManyRequests TooManyRequestsError TooManyRequestsException ThrottlingException "
    "ResourceExhausted QuotaExceededError",
    UNAVAILABLE: "ServiceUnavailable ServiceUnavailableError ServiceUnavailableException "
    "OverloadedError ServerOverloadedError APIConnectionError ConnectError ConnectTimeout "
    "ConnectTimeoutError",
    NETWORK_TIMEOUT: "APITimeoutError APIConnectionTimeoutError InternalServerError GatewayTimeout "
    "BadGateway ServerError DeadlineExceeded ReadTimeout ReadTimeoutError ReadError WriteTimeout "
    "ServerTimeoutError ServerDisconnectedError RequestTimeout RemoteProtocolError",
    SYSTEM_ERROR: "AuthenticationError PermissionDeniedError Unauthenticated UnauthorizedError",
}
"""What clients of services call their errors, whatever package they are from."""


def _flat(families: dict[Decision, str]) -> dict[str, Decision]:
    return {name: decision for decision, names in families.items() for name in names.split()}


_NAMES = {
    (package, name): decision
    for packages, families in _BY_PACKAGE.items()
    for package in packages
    for name, decision in _flat(families).items()
}
_LOOSE_NAMES = _flat(_ANYWHERE)


def by_class(error: BaseException) -> Decision | None:
    """What the libraries that are known here mean by ``error``."""
    for kind in type(error).__mro__:
        found = _NAMES.get((kind.__module__.partition(".")[0], kind.__name__))
        if found is not None:
            return found
    return None


def by_loose_name(error: BaseException) -> Decision | None:
    """What a class of this name means in most libraries; asked when nothing else is known."""
    for kind in type(error).__mro__:
        if kind.__module__ != "builtins" and kind.__name__ in _LOOSE_NAMES:
            return _LOOSE_NAMES[kind.__name__]
    return None


_ERRNOS: dict[Decision, set[int]] = {
    NETWORK_TIMEOUT: {
        errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ESTALE,
        errno.ENETRESET, errno.ENOTCONN, errno.ESHUTDOWN,
    },
    UNAVAILABLE: {
        errno.ECONNREFUSED, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH,
        errno.EHOSTDOWN, errno.EADDRNOTAVAIL,
    },
    # Too many open files, processes or buffers: as with memory, fewer documents at once help.
    OUT_OF_MEMORY: {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EAGAIN},
    SYSTEM_ERROR: {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO},
}  # fmt: skip
_BY_ERRNO = {number: decision for decision, numbers in _ERRNOS.items() for number in numbers}


def by_errno(number: int | None) -> Decision | None:
    """What the error number of a system call means."""
    return None if number is None else _BY_ERRNO.get(number)


_GRPC: dict[Decision, str] = {
    UNAVAILABLE: "UNAVAILABLE",
    RATE_LIMITED: "RESOURCE_EXHAUSTED",
    NETWORK_TIMEOUT: "DEADLINE_EXCEEDED ABORTED INTERNAL UNKNOWN CANCELLED DATA_LOSS",
    SYSTEM_ERROR: "UNAUTHENTICATED PERMISSION_DENIED UNIMPLEMENTED",
    REFUSED: "INVALID_ARGUMENT NOT_FOUND ALREADY_EXISTS FAILED_PRECONDITION OUT_OF_RANGE",
}
BY_GRPC_CODE = _flat(_GRPC)
"""By the name of a gRPC status code."""

_SERVICE_CODES: dict[Decision, str] = {
    RATE_LIMITED: "Throttling ThrottlingException ThrottledException RequestThrottled "
    "RequestThrottledException TooManyRequestsException SlowDown RequestLimitExceeded "
    "BandwidthLimitExceeded ProvisionedThroughputExceededException EC2ThrottledException "
    "LimitExceededException rate_limit_exceeded",
    UNAVAILABLE: "ServiceUnavailable ServiceUnavailableException ModelNotReadyException",
    NETWORK_TIMEOUT: "RequestTimeout RequestTimeoutException InternalError InternalFailure "
    "InternalServerException ModelTimeoutException PriorRequestNotComplete "
    "TransactionInProgressException",
    SYSTEM_ERROR: "AccessDenied AccessDeniedException ExpiredToken ExpiredTokenException "
    "InvalidAccessKeyId InvalidClientTokenId InvalidSignatureException SignatureDoesNotMatch "
    "UnrecognizedClientException insufficient_quota billing_hard_limit_reached invalid_api_key",
}
BY_SERVICE_CODE = _flat(_SERVICE_CODES)
"""By the code that services put beside the HTTP status, which can say more than that: AWS
throttles with HTTP 400, and OpenAI says with HTTP 429 that an account has run dry."""

_CONFIGURATION_STATUSES = {401, 402, 403, 407}
_PASSING_STATUSES = {408: NETWORK_TIMEOUT, 425: NETWORK_TIMEOUT, 429: RATE_LIMITED}
_LASTING_5XX = {501, 505, 506, 508, 510, 511}
_UNAVAILABLE_5XX = {502, 503, 521, 522, 523, 529, 530}


def by_status(status: int) -> Decision | None:
    """What an HTTP status from 400 to 599 means; other statuses say nothing."""
    if status in _CONFIGURATION_STATUSES:
        return SYSTEM_ERROR  # the same for every document: not a reason to dead-letter them all
    if status in _PASSING_STATUSES:
        return _PASSING_STATUSES[status]
    if status in _UNAVAILABLE_5XX:
        return UNAVAILABLE
    if 500 <= status <= 599 and status not in _LASTING_5XX:
        return NETWORK_TIMEOUT
    return REFUSED if 400 <= status <= 599 else None
