"""Telling others that a batch has ended: a webhook, and whatever plugins add."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from lesson15 import plugins
from lesson15.logs import get_logger
from lesson15.settings import Settings

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """A batch came to its end: ``status`` is finished, cancelled or aborted.

    ``user`` is None where a batch belongs to nobody, as on the command line; ``ended_at`` is in
    seconds since the epoch.
    """

    batch_id: str
    status: str
    total_docs: int
    processed_docs: int
    failed_docs: int
    skipped_docs: int
    error: str | None = None
    user: str | None = None
    ended_at: float = field(default_factory=time.time)

    @classmethod
    def of(cls, view: Mapping[str, Any], user: str | None = None) -> BatchEnded:
        """The end that ``view``, a report or a batch as it is shown, tells of."""
        names = ("batch_id", "status", "total_docs", "processed_docs", "failed_docs",
                 "skipped_docs", "error")  # fmt: skip
        return cls(**{name: view[name] for name in names}, user=user)

    def to_dict(self) -> dict[str, Any]:
        """This event as JSON-ready values."""
        return asdict(self)


class Notifier(Protocol):
    """Tells somebody that a batch has ended; may block and may raise."""

    def __call__(self, ended: BatchEnded, /) -> None:
        """Tell of ``ended``."""
        ...


def _notifiers(settings: Settings) -> Iterator[tuple[str, Notifier]]:
    if settings.webhook_url is not None:
        from lesson15.notifications.webhook import Webhook

        yield "webhook", Webhook(settings.webhook_url, settings.webhook_secret)
    for name in plugins.names(plugins.Group.NOTIFIERS):
        yield name, plugins.load(plugins.Group.NOTIFIERS, name)()


def check_notifiers(settings: Settings) -> None:
    """Find out before a batch begins whether its end can be told.

    Raises:
        UsageError: the webhook needs a package that is missing, or a plugin is broken.
    """
    for _ in _notifiers(settings):
        pass


def notify(ended: BatchEnded, settings: Settings) -> None:
    """Tell the webhook and every installed plugin of ``ended``, one after the other.

    One that fails is logged and keeps the others from nothing: the batch is safe already.

    Raises:
        UsageError: the webhook needs a package that is missing, or a plugin is broken.
    """
    for name, notifier in _notifiers(settings):
        try:
            notifier(ended)
        except Exception as error:  # noqa: BLE001 - whatever a plugin may raise
            log.warning("nobody was told", notifier=name, batch_id=ended.batch_id, error=str(error))
