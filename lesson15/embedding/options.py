"""How calls of a model are repeated, and whom to tell of trouble."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lesson15.recovery import TransientHook
from lesson15.settings import Settings


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How calls are repeated; the fields are the settings of the same meaning."""

    timeout: float = 300.0
    max_retries: int = 3
    retry_delay: float = 1.0
    max_retry_after: float = 300.0
    breaker_failures: int = 5
    outage_patience: float = 3600.0
    probe_interval: float = 30.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> CallOptions:
        """The options that ``settings`` ask for."""
        return cls(
            timeout=settings.embed_timeout,
            max_retries=settings.max_retries,
            retry_delay=settings.retry_delay,
            max_retry_after=settings.max_retry_after,
            breaker_failures=settings.breaker_failures,
            outage_patience=settings.outage_patience,
            probe_interval=settings.probe_interval,
            requests_per_minute=settings.embed_requests_per_minute,
            tokens_per_minute=settings.embed_tokens_per_minute,
        )


def _nothing(_what: object) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class CallHooks:
    """Whom to tell, on the event loop.

    Attributes:
        on_outage: the service is away, because of this error; every call waits.
        on_recovery: it is back, after so many seconds.
        on_pressure: a call ran out of memory; fewer documents should be in work.
        is_transient: an opinion on errors; see :func:`lesson15.recovery.classify`.
    """

    on_outage: Callable[[Exception], object] = _nothing
    on_recovery: Callable[[float], object] = _nothing
    on_pressure: Callable[[Exception], object] = _nothing
    is_transient: TransientHook | None = None
