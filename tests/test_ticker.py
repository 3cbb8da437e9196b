"""The ticker, with a clock that tests move."""

from __future__ import annotations

import asyncio

import pytest

from gateway.ticker import REST_SECONDS, TICK_SECONDS, TICKS_PER_SECOND, Ticker


async def test_all_tasks_wake_at_one_tick_with_its_number() -> None:
    ticker, loop = Ticker(), asyncio.get_running_loop()
    before = loop.time()
    numbers = await asyncio.gather(ticker.next(), ticker.next())
    assert numbers[0] == numbers[1]
    assert before < numbers[0] * TICK_SECONDS <= loop.time()


async def test_tasks_that_wait_again_at_once_get_the_same_numbers() -> None:
    ticker = Ticker()

    async def numbers() -> list[int]:
        return [await ticker.next() for _ in range(3)]

    first, second = await asyncio.gather(numbers(), numbers())
    assert first == second
    assert len(set(first)) == 3


async def test_a_task_that_is_cancelled_does_not_take_the_tick_from_others() -> None:
    ticker = Ticker()
    cancelled = asyncio.create_task(ticker.next())
    waiting = asyncio.create_task(ticker.next())
    await asyncio.sleep(0)
    cancelled.cancel()
    await waiting
    assert cancelled.cancelled()


async def test_ticks_at_rest_are_whole_seconds_and_a_stir_ends_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticker, loop = Ticker(), asyncio.get_running_loop()
    due: list[float] = []
    call_at = loop.call_at

    def recorded(when: float, *call: object) -> asyncio.TimerHandle:
        due.append(when)
        return call_at(when, *call)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_at", recorded)
    ticker.rest(True)
    ticker.rest(True)
    assert due[-1] % REST_SECONDS == pytest.approx(0)
    assert round(due[-1] / TICK_SECONDS) % TICKS_PER_SECOND == 0
    begun = loop.time()
    ticker.stir()
    ticker.stir()
    ended = loop.time()
    assert len(due) == 2, "one timer for the rest, one for its end"
    assert begun < due[-1] <= ended + 2 * TICK_SECONDS
    await ticker.next()
