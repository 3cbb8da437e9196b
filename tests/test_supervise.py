from __future__ import annotations

import asyncio

import pytest

from gateway.supervise import LONGEST_SECONDS, Part, Supervisor, flat


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


def test_groups_are_flattened() -> None:
    first, second, third = ValueError(), KeyError(), OSError()
    nested = ExceptionGroup("outer", [first, ExceptionGroup("inner", [second, third])])
    assert flat(nested) == [first, second, third]
    assert flat(first) == [first]
