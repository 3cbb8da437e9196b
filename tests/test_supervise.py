from __future__ import annotations

import asyncio

import pytest

from gateway.supervise import LONGEST_SECONDS, STEADY_SECONDS, Part, Restarts, Supervisor, flat
from tests.eventually import DEADLINE


class Failures:
    def __init__(self) -> None:
        self.seen: list[tuple[Part, str]] = []

    def failed(self, part: Part, error: BaseException) -> None:
        self.seen.append((part, type(error).__name__))


@pytest.fixture
def failures() -> Failures:
    return Failures()


def test_contained_exception_ends_the_block_and_is_reported(failures: Failures) -> None:
    with Supervisor(failures).contain(Part.STATUS) as step:
        raise ValueError
    assert step.failed
    assert failures.seen == [(Part.STATUS, "ValueError")]


def test_block_without_exception_reports_nothing(failures: Failures) -> None:
    with Supervisor(failures).contain(Part.STATUS) as step:
        pass
    assert not step.failed
    assert failures.seen == []


def test_exception_group_is_contained(failures: Failures) -> None:
    with Supervisor(failures).contain(Part.KAFKA):
        raise ExceptionGroup("tasks", [ValueError()])
    assert failures.seen == [(Part.KAFKA, "ExceptionGroup")]


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        SystemExit(),
        BaseExceptionGroup("tasks", [asyncio.CancelledError(), ValueError()]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_cancellation_and_exit_pass_through(failures: Failures, error: BaseException) -> None:
    with pytest.raises(type(error)), Supervisor(failures).contain(Part.STATUS):
        raise error
    assert failures.seen == []


async def test_failed_task_restarts_with_growing_pauses(
    failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            raise asyncio.CancelledError

    monkeypatch.setattr("gateway.supervise.asyncio.sleep", sleep)

    async def run() -> None:
        raise ValueError

    with pytest.raises(asyncio.CancelledError):
        await Supervisor(failures).keep(Part.SCANS, run)
    assert pauses == [1, 2, 4, 8, 16, LONGEST_SECONDS, LONGEST_SECONDS, LONGEST_SECONDS]
    assert len(failures.seen) == 8


async def test_cancelled_task_is_not_restarted(failures: Failures) -> None:
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(Supervisor(failures).keep(Part.SCANS, run))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (runs, failures.seen) == (1, [])


async def cancelled_future() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def test_task_that_awaits_a_cancelled_future_is_restarted(
    failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.supervise.FIRST_SECONDS", 0)
    runs = 0
    running = asyncio.Event()

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            await cancelled_future()
        running.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(Supervisor(failures).keep(Part.SCANS, run))
    async with asyncio.timeout(DEADLINE):
        await running.wait()
    assert failures.seen == [(Part.SCANS, "CancelledError")] * 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert runs == 3


async def test_cancellation_by_a_timeout_or_a_task_group_passes_through(failures: Failures) -> None:
    contain = Supervisor(failures).contain

    async def wait() -> None:
        with contain(Part.SCANS):
            await asyncio.Event().wait()

    async def wait_beside_a_failure() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(cancelled_by_failure())
            await wait()

    async def cancelled_by_failure() -> None:
        raise ValueError

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait(), 0.01)
    with pytest.raises(ExceptionGroup):
        await wait_beside_a_failure()
    assert failures.seen == []
    with contain(Part.SCANS) as step:
        await cancelled_future()
    assert step.failed, "the earlier cancellations are over"
    assert failures.seen == [(Part.SCANS, "CancelledError")]


def test_groups_are_flattened() -> None:
    first, second, third = ValueError(), KeyError(), OSError()
    nested = ExceptionGroup("outer", [first, ExceptionGroup("inner", [second, third])])
    assert flat(nested) == [first, second, third]
    assert flat(first) == [first]


def test_pause_doubles_up_to_a_bound_and_is_reset_by_a_steady_run() -> None:
    restarts = Restarts(0.5)
    now = 0.0
    pauses = []
    for _ in range(10):
        restarts.started(now)
        now += 1
        pauses.append(restarts.died(now))
        now += pauses[-1]
    assert pauses[:3] == [0.5, 1, 2]
    assert pauses[-1] == LONGEST_SECONDS
    restarts.started(now)
    assert restarts.died(now + STEADY_SECONDS) == 0.5
