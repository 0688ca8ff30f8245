"""The webhook against a real server."""

from __future__ import annotations

import json
import logging

import httpx
import pytest
from pydantic import SecretStr

from lesson15.notifications import BatchEnded, notify
from lesson15.notifications.webhook import Webhook, sign
from lesson15.settings import Settings
from tests.webhook_receiver import Receiver

ENDED = BatchEnded("b", "finished", 3, 2, 1, 0, user="alice")


def test_it_is_signed(receiver: Receiver) -> None:
    Webhook(receiver.url, SecretStr("s3cret"))(ENDED)
    ((headers, body),) = receiver.received
    assert json.loads(body) == ENDED.to_dict()
    assert headers["Content-Type"] == "application/json"
    signature = headers["X-Lesson15-Signature"]
    assert signature == sign("s3cret", headers["X-Lesson15-Timestamp"], body)
    assert signature != sign("s3cret", headers["X-Lesson15-Timestamp"], body + b" ")
    assert signature != sign("other", headers["X-Lesson15-Timestamp"], body)


def test_without_a_secret_there_is_no_signature(receiver: Receiver) -> None:
    Webhook(receiver.url, None)(ENDED)
    assert "X-Lesson15-Signature" not in receiver.received[0][0]


def test_what_may_pass_is_tried_again(receiver: Receiver) -> None:
    receiver.answers = [503, 429, 204]
    Webhook(receiver.url, None, first_wait=0.001)(ENDED)
    assert len(receiver.received) == 3
    assert len({headers["X-Lesson15-Delivery"] for headers, _ in receiver.received}) == 1


def test_what_will_not_pass_is_not(receiver: Receiver) -> None:
    receiver.answers = [400]
    with pytest.raises(httpx.HTTPStatusError):
        Webhook(receiver.url, None, first_wait=0.001)(ENDED)
    assert len(receiver.received) == 1
    receiver.answers = [500] * 9
    with pytest.raises(httpx.HTTPStatusError):
        Webhook(receiver.url, None, first_wait=0.001)(ENDED)
    assert len(receiver.received) == 5


def test_a_failure_is_logged_and_no_more(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [404]
    with caplog.at_level(logging.WARNING, logger="lesson15"):
        notify(ENDED, Settings(webhook_url=receiver.url))
    assert "nobody was told" in caplog.text
    assert "404" in caplog.text
