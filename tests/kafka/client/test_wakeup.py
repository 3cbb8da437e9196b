"""A wakeup resumes its task in the callback that resolves it, and behaves like a future else."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from gateway.kafka.client.wakeup import Wakeup


async def test_the_task_runs_within_the_callback() -> None:
    loop = asyncio.get_running_loop()
    seen: list[str] = []
    wakeup = Wakeup[str](loop)

    async def wait() -> None:
        seen.append(await wakeup)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    over = loop.create_future()

    def resolve() -> None:
        wakeup.set_result("done")
        over.set_result(list(seen))

    loop.call_soon(resolve)
    assert await over == ["done"], "before the callback has returned"
    assert task.done()


async def test_the_task_runs_in_the_next_turn_while_another_task_runs() -> None:
    wakeup = Wakeup[int](asyncio.get_running_loop())

    async def wait() -> int:
        return await wakeup

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    wakeup.set_result(1)
    assert not task.done()
    assert await task == 1


async def test_a_result_or_an_exception_may_come_before_the_wait() -> None:
    loop = asyncio.get_running_loop()
    early, failed = Wakeup[int](loop), Wakeup[int](loop)
    early.set_result(1)
    assert await early == 1
    failed.set_exception(ValueError("early"))
    with pytest.raises(ValueError, match="early"):
        await failed


async def test_an_exception_is_raised_in_the_task() -> None:
    loop = asyncio.get_running_loop()
    wakeup = Wakeup[int](loop)
    loop.call_later(0.01, wakeup.set_exception, ValueError("late"))
    with pytest.raises(ValueError, match="late"):
        await wakeup


async def test_a_wait_can_be_cancelled_and_limited_in_time() -> None:
    loop = asyncio.get_running_loop()
    limited, cancelled = Wakeup[int](loop), Wakeup[int](loop)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await limited
    assert limited.done()

    async def wait() -> int:
        return await cancelled

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.done()
    assert not cancelled.cancel()


async def test_the_task_keeps_its_context() -> None:
    loop = asyncio.get_running_loop()
    variable: ContextVar[str] = ContextVar("variable", default="outside")
    wakeup = Wakeup[None](loop)

    async def wait() -> str:
        variable.set("inside")
        await wakeup
        return variable.get()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    loop.call_soon(wakeup.set_result, None)
    assert await task == "inside"
    assert variable.get() == "outside"
