"""A cancellation during a stop of aiokafka reaches the task that is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient

from gateway.kafka.client.brokers import BrokerClient, pass_cancellation
from gateway.kafka.idempotent import IdempotentProducer


async def suppressing() -> None:
    """Do as aiokafka's `close` does: wait for a task, and suppress its cancellation."""
    task = asyncio.create_task(asyncio.sleep(3600))
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_suppressed_cancellation_is_raised_again() -> None:
    async def close() -> None:
        await suppressing()
        pass_cancellation()

    closing = asyncio.create_task(close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing


async def test_a_cancelled_timeout_is_not_raised_again() -> None:
    async def close() -> None:
        async with asyncio.timeout(0):
            await suppressing()
            pass_cancellation()

    with pytest.raises(TimeoutError):
        await close()
    pass_cancellation()


@pytest.mark.parametrize("owner", [BrokerClient, IdempotentProducer])
async def test_a_close_that_is_cancelled_ends_its_task(
    owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = "close" if owner is BrokerClient else "stop"
    base = owner.__mro__[1]

    async def replaced(self: object) -> None:
        await suppressing()

    monkeypatch.setattr(base, method, replaced)
    instance = owner.__new__(owner)
    closing = asyncio.create_task(getattr(instance, method)())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing


async def test_abandon_in_a_cancelled_task_ends_the_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that stops while Kafka is away closes its producers in cancelled tasks."""
    ended: list[str] = []

    async def close_client(self: object) -> None:
        ended.append("client")

    async def close_sender() -> None:
        ended.append("sender")

    monkeypatch.setattr(AIOKafkaClient, "close", close_client)
    producer: Any = IdempotentProducer.__new__(IdempotentProducer)
    producer.client = BrokerClient.__new__(BrokerClient)
    producer._message_accumulator = SimpleNamespace(fail_all=lambda error: None)  # noqa: SLF001
    producer._sender = SimpleNamespace(close=close_sender)  # noqa: SLF001

    async def run() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await producer.abandon()

    running = asyncio.create_task(run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == ["client", "sender"]
