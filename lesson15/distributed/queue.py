"""The broker as the coordinator sees it: a place to put shards, and a number of those that wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lesson15.errors import BrokerUnavailableError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    from celery import Celery

QUEUE = "lesson15"
TASK = "lesson15.work_on_next_shard"
_SCHEMES = ("redis", "rediss", "amqp", "amqps")
_CONNECT_SECONDS = 4.0
_VISIBILITY_SECONDS = 900


@dataclass(frozen=True, slots=True)
class ShardTask:
    """Tells a worker to take the next shard of a batch, whichever that is by then.

    ``lease_seconds``: how long it may show no sign of life.
    """

    batch_id: str
    max_concurrent: int
    checkpoint_interval: int
    lease_seconds: float


class ShardQueue(Protocol):
    """Delivers tasks to workers, each once as a rule, but perhaps never or several times."""

    def publish(self, task: ShardTask, count: int) -> None:
        """Hand ``task`` to the broker ``count`` times; raises BrokerUnavailableError."""
        ...

    def waiting(self) -> int:
        """Tasks that no worker has been given yet; raises BrokerUnavailableError."""
        ...


def make_app(broker_url: str) -> Celery:
    """The Celery application for ``broker_url``.

    Raises:
        UsageError: the URL is of no broker that is supported.
        MissingDependencyError: Celery or the client of the broker is not installed.
    """
    if broker_url.partition("://")[0] not in _SCHEMES:
        raise UsageError(
            problem=f"The broker URL {redacted(broker_url)!r} is not of Redis or RabbitMQ: it "
            "should look like redis://host:6379/0 or amqp://user:password@host:5672//."
        )
    check_celery()
    from celery import Celery

    app = Celery("lesson15", broker=broker_url, set_as_current=False)
    is_redis = broker_url.startswith("redis")
    app.conf.update(
        # A task is acknowledged when its shard has ended, so a lost worker's is delivered again.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        # A shard goes on without the broker; its lease, not the connection, tells who works on it.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=_CONNECT_SECONDS,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=QUEUE,
        task_default_queue_type="classic" if is_redis else "quorum",
        worker_send_task_events=True,
        task_send_sent_event=True,
        worker_hijack_root_logger=False,
        # Redis: a task that was delivered and not acknowledged is delivered again after this
        # time. Leases take over long before; a second delivery finds the shard claimed.
        broker_transport_options={
            "visibility_timeout": _VISIBILITY_SECONDS,
            "socket_timeout": 10,
            "socket_connect_timeout": _CONNECT_SECONDS,
            "socket_keepalive": True,
        }
        if is_redis
        else {"confirm_publish": True},
    )
    return app


def check_celery() -> None:
    """Check that Celery and the client of Redis are there; raises MissingDependencyError."""
    try:
        import celery  # noqa: F401 - only to see whether it can be
        import redis  # noqa: F401 - as above: Celery would do it later, with a worse message
    except ImportError as error:
        raise MissingDependencyError(
            feature="--distributed", package="lesson15[distributed]"
        ) from error


def chosen_broker(broker_url: str | None) -> str:
    """``broker_url``, which must be given; raises UsageError."""
    if broker_url is None:
        raise UsageError(
            problem="No broker is named: give --broker URL or set LESSON15_BROKER_URL, "
            "for example redis://localhost:6379/0 or amqp://guest@localhost//."
        )
    return broker_url


def redacted(broker_url: str) -> str:
    """``broker_url`` without its password."""
    head, scheme, rest = broker_url.rpartition("://")
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{head}{scheme}{user}{colon}{'***' if colon else ''}{at}{place}"


class CeleryQueue:
    """A queue of Celery tasks. Each operation opens a connection, so a restart leaves no trace."""

    def __init__(self, broker_url: str) -> None:
        self._app = make_app(broker_url)
        self._place = redacted(broker_url)

    def publish(self, task: ShardTask, count: int) -> None:
        """Hand ``task`` to the broker ``count`` times; RabbitMQ confirms each."""
        with self._connection() as connection:
            for _ in range(count):
                self._app.send_task(TASK, kwargs=asdict(task), connection=connection, retry=False)

    def waiting(self) -> int:
        """Tasks that no worker has been given yet."""
        with self._connection() as connection:
            try:
                queue = connection.default_channel.queue_declare(QUEUE, passive=True)
            except connection.channel_errors:  # there is no such queue: nobody ever used it
                return 0
            return int(queue.message_count)

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        from kombu.exceptions import OperationalError

        connection = self._app.connection_for_write()
        try:
            connection.ensure_connection(
                max_retries=1, interval_start=0.2, timeout=_CONNECT_SECONDS
            )
            yield connection
        except (
            OperationalError, OSError, *connection.connection_errors, *connection.channel_errors
        ) as error:  # fmt: skip
            raise BrokerUnavailableError(url=self._place, detail=error) from error
        finally:
            connection.release()
