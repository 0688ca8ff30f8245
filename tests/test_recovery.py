"""The recovery manager: attempts, waits and what it tells; tests/test_classify.py judges errors."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable

import pytest

import lesson15
from lesson15 import ErrorRecoveryManager, errors, plugins
from lesson15.recovery import POLICY, classify


class Waits:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def waits_of(error: Exception, **options: object) -> list[float]:
    waits = Waits()

    async def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        await ErrorRecoveryManager(sleep=waits, **options).execute_with_retry(fail)
    return waits.seconds


def test_the_table_is_the_contract() -> None:
    table = [(row.name, row.action.value, row.retries, row.wait.value) for row in POLICY]
    assert table == [
        ("network timeout", "fail", 3, "exponential"),
        ("file not found", "skip", 0, "none"),
        ("out of memory", "fail", 5, "linear"),
        ("parse error", "fail", 1, "fixed"),
        ("system error", "abort", 0, "none"),
    ]


@pytest.mark.parametrize(
    ("make", "attempts"),
    [
        (TimeoutError, 4),
        (lambda: lesson15.RateLimited(retry_after=1), 4),
        (FileNotFoundError, 1),
        (MemoryError, 6),
        (lambda: OSError(errno.EMFILE, "too many"), 6),
        (ValueError, 2),
        (lambda: errors.EmptyDocumentError(path="x"), 1),
        (lambda: OSError(errno.ENOSPC, "full"), 1),
    ],
)
async def test_attempts_follow_the_table(make: Callable[[], Exception], attempts: int) -> None:
    error, waits, calls = make(), Waits(), 0

    async def fail() -> None:
        nonlocal calls
        calls += 1
        raise error

    manager = ErrorRecoveryManager(sleep=waits)
    with pytest.raises(type(error)):
        await manager.execute_with_retry(fail)
    assert calls == attempts
    assert [manager.wait_before_retry(error, n) is None for n in range(1, calls + 1)] == [
        *[False] * (attempts - 1), True
    ]  # fmt: skip
    assert len(waits.seconds) == attempts - 1


async def test_waits_grow_as_the_table_says() -> None:
    assert await waits_of(MemoryError(), retry_delay=2.0) == [2, 4, 6, 8, 10]
    assert await waits_of(ValueError(), retry_delay=2.0) == [2]
    grown = await waits_of(TimeoutError(), retry_delay=2.0)
    for wait, base in zip(grown, [2, 4, 8], strict=True):
        assert base <= wait <= base + 2


async def test_a_service_is_asked_again_when_it_said_so() -> None:
    assert await waits_of(lesson15.RateLimited(retry_after=7.5)) == [7.5] * 3
    assert await waits_of(lesson15.ServiceUnavailable(retry_after=9)) == [9] * 3
    assert await waits_of(lesson15.RateLimited(9999), max_retry_after=60) == [60] * 3
    assert len(await waits_of(lesson15.ServiceUnavailable("gone to lunch"))) == 3


async def test_success_after_trouble_and_arguments() -> None:
    manager = ErrorRecoveryManager(sleep=Waits())
    trouble = [MemoryError(), TimeoutError()]

    async def work(a: int, *, b: int) -> int:
        if trouble:
            raise trouble.pop()
        return a + b

    assert await manager.execute_with_retry(work, 1, b=2) == 3
    assert not trouble


async def test_max_retries_counts_for_the_network_only() -> None:
    manager = ErrorRecoveryManager(max_retries=1)
    assert manager.retries_for(TimeoutError()) == 1
    assert manager.retries_for(MemoryError()) == 5
    assert manager.retries_for(errors.RepeatedCallError(TimeoutError(), 4)) == 0


async def test_the_attempts_of_a_repeated_call_count() -> None:
    error = errors.RepeatedCallError(TimeoutError("slow"), attempts=4)

    async def fail() -> None:
        raise error

    with pytest.raises(errors.RepeatedCallError, match=r"TimeoutError: slow .*4 times") as caught:
        await ErrorRecoveryManager(sleep=Waits()).execute_with_retry(fail)
    assert caught.value.attempts == 4


class QuotaError(Exception):
    """An error of a service that nobody has heard of."""


async def test_the_caller_knows_what_passes() -> None:
    def hook(error: BaseException) -> float | bool | None:
        if isinstance(error, QuotaError):
            return {"soon": True, "never": False, "told": 4.0}.get(str(error))
        return None

    assert len(await waits_of(QuotaError("soon"), is_transient=hook)) == 3
    assert await waits_of(QuotaError("never"), is_transient=hook) == []
    assert await waits_of(QuotaError("told"), is_transient=hook) == [4.0] * 3
    assert len(await waits_of(QuotaError("what?"), is_transient=hook)) == 1
    assert len(await waits_of(ValueError(), is_transient=hook)) == 1


async def test_a_hook_that_fails_or_talks_nonsense_is_ignored() -> None:
    def broken(error: BaseException) -> bool:
        raise KeyError("oops")

    assert len(await waits_of(ValueError(), is_transient=broken)) == 1
    assert len(await waits_of(ValueError(), is_transient=lambda error: float("nan"))) == 1
    assert len(await waits_of(ValueError(), is_transient=lambda error: -3.0)) == 1


async def test_a_hook_cannot_turn_an_abort_into_a_dead_letter() -> None:
    full = OSError(errno.ENOSPC, "full")
    assert classify(full, lambda error: False).name == "system error"
    assert classify(errors.CheckpointWriteError(path="x", detail="y"), lambda error: True).name == (
        "system error"
    )


def test_every_error_has_a_message_and_survives_pickling() -> None:
    for error in (
        errors.CheckpointWriteError(path="/x", detail="full {not a field}"),
        lesson15.RateLimited(retry_after=3),
        lesson15.ServiceUnavailable("moved house", retry_after=3),
        errors.RepeatedCallError(ValueError("x"), 3),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert str(copy) == str(error)
        assert getattr(copy, "retry_after", None) == getattr(error, "retry_after", None)
    assert "{" not in str(errors.BatchNotFoundError(batch_id="b", state_dir="s"))
    assert isinstance(errors.DocumentNotFoundError(path="x"), FileNotFoundError)


def test_the_group_of_hooks_is_known() -> None:
    assert plugins.Group.TRANSIENT == "lesson15.transient"
    assert plugins.Group.TRANSIENT.noun == "transient"
