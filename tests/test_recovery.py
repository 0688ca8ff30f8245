from __future__ import annotations

import errno

import pytest

from lesson15 import ErrorRecoveryManager, errors
from lesson15.recovery import (
    FILE_NOT_FOUND,
    NETWORK_TIMEOUT,
    OUT_OF_MEMORY,
    PARSE_ERROR,
    POLICY,
    SYSTEM_ERROR,
    Decision,
    classify,
)


class Waits:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


CASES = [
    (TimeoutError(), NETWORK_TIMEOUT),
    (ConnectionResetError(), NETWORK_TIMEOUT),
    (errors.StepTimeoutError(step="embed", seconds=1, setting="X"), NETWORK_TIMEOUT),
    (FileNotFoundError(), FILE_NOT_FOUND),
    (errors.DocumentNotFoundError(path="x"), FILE_NOT_FOUND),
    (MemoryError(), OUT_OF_MEMORY),
    (errors.OutOfMemoryError(path="x", detail="y"), OUT_OF_MEMORY),
    (errors.EmptyDocumentError(path="x"), PARSE_ERROR),
    (errors.ParseTimeoutError(path="x", seconds=1), PARSE_ERROR),
    (ValueError("a bug in a plugin"), PARSE_ERROR),
    (OSError(errno.ENOSPC, "full"), SYSTEM_ERROR),
    (errors.CheckpointWriteError(path="x", detail="y"), SYSTEM_ERROR),
    (errors.EmbeddingModelError(model="x", detail="y"), SYSTEM_ERROR),
]


@pytest.mark.parametrize(("error", "decision"), CASES)
def test_classify(error: Exception, decision: Decision) -> None:
    assert classify(error) is decision


def test_the_table_is_the_contract() -> None:
    table = [(row.name, row.action.value, row.retries, row.wait.value) for row in POLICY]
    assert table == [
        ("network timeout", "fail", 3, "exponential"),
        ("file not found", "skip", 0, "none"),
        ("out of memory", "fail", 5, "linear"),
        ("parse error", "fail", 1, "fixed"),
        ("system error", "abort", 0, "none"),
    ]


@pytest.mark.parametrize(("error", "decision"), CASES)
async def test_attempts_follow_the_table(error: Exception, decision: Decision) -> None:
    waits, calls = Waits(), 0
    manager = ErrorRecoveryManager(sleep=waits)

    async def fail() -> None:
        nonlocal calls
        calls += 1
        raise error

    with pytest.raises(type(error)):
        await manager.execute_with_retry(fail)
    assert calls == decision.retries + 1
    assert [manager.wait_before_retry(error, n) is None for n in range(1, calls + 1)] == [
        *[False] * decision.retries, True
    ]  # fmt: skip
    assert len(waits.seconds) == decision.retries


async def test_waits_grow_as_the_table_says() -> None:
    async def run(error: Exception) -> list[float]:
        waits = Waits()

        async def fail() -> None:
            raise error

        with pytest.raises(type(error)):
            await ErrorRecoveryManager(retry_delay=2.0, sleep=waits).execute_with_retry(fail)
        return waits.seconds

    assert await run(MemoryError()) == [2, 4, 6, 8, 10]
    assert await run(ValueError()) == [2]
    for wait, base in zip(await run(TimeoutError()), [2, 4, 8], strict=True):
        assert base <= wait <= base + 2


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


def test_every_error_has_a_message_and_survives_pickling() -> None:
    import pickle

    error = errors.CheckpointWriteError(path="/x", detail="full {not a field}")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert "{" not in str(errors.BatchNotFoundError(batch_id="b", state_dir="s"))
    assert isinstance(errors.DocumentNotFoundError(path="x"), FileNotFoundError)
