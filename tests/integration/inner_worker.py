"""A worker in this process, whose methods can be made to raise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from typing import Any, Self

import pytest

from gateway import app
from gateway.config import load_settings
from tests.client import StreamClient
from tests.conftest import Broker
from tests.eventually import eventually
from tests.integration.conftest import OpenStream
from tests.integration.poison import user_of
from tests.records import Topics
from tests.tokens import SECRET
from tests.worker import metric

PARTITIONS = 3
BAD, GOOD = 0, 1
"""The partition whose records raise, and one whose records do not."""


class InnerWorker:
    """A worker in this process, with the properties that tests use of one in its own."""

    def __init__(self, worker: app.Worker) -> None:
        self.events_url = f"{worker.url}/api/v1/events"
        self.ops_url = worker.ops_url

    async def errors(self, part: str) -> float:
        return await metric(self.ops_url, "gateway_internal_errors_total", part=part)

    async def has_failed(self, part: str, times: int = 1) -> None:
        async def counted() -> bool:
            return await self.errors(part) >= times

        await eventually(f"an exception is counted for {part}", counted)


@asynccontextmanager
async def running(broker: Broker, topics: Topics, **settings: object) -> AsyncIterator[InnerWorker]:
    values = {
        **{name.removeprefix("GATEWAY_").lower(): v for name, v in topics.settings.items()},
        "kafka_bootstrap": broker.bootstrap,
        "jwt_secret": SECRET,
        "listen": "127.0.0.1:0",
        "ops_listen": "127.0.0.1:0",
        "drain_seconds": 0,
        "heartbeat_seconds": 1,
        **settings,
    }
    async with app.Worker(load_settings(None, **values)) as worker:
        await worker.readiness.first()
        yield InnerWorker(worker)


class Fault:
    """Makes a method raise `RuntimeError` in the first `times` calls for which `when` is true."""

    def __init__(self, times: int = 1 << 30) -> None:
        self.left = times
        self.raised = 0
        self.error: Exception = RuntimeError("injected")

    def into(
        self,
        monkeypatch: pytest.MonkeyPatch,
        owner: object,
        name: str,
        when: Callable[..., bool] = lambda *_, **__: True,
    ) -> Self:
        original: Any = getattr(owner, name)

        async def fail_later() -> None:
            raise self.error

        def replaced(*args: object, **options: object) -> object:
            if self.left and when(*args, **options):
                self.left -= 1
                self.raised += 1
                if iscoroutinefunction(original):
                    return fail_later()
                raise self.error
            return original(*args, **options)

        monkeypatch.setattr(owner, name, replaced)
        return self


def users() -> list[str]:
    return [user_of(partition, PARTITIONS) for partition in range(PARTITIONS)]


async def follow(
    open_stream: OpenStream, worker: InnerWorker, names: list[str]
) -> list[StreamClient]:
    return [await open_stream(worker, name) for name in names]  # type: ignore[arg-type]


async def expect(client: StreamClient, *numbers: int) -> None:
    await client.wait_for(len(numbers))
    assert client.numbers == [*numbers]
    assert client.own("gap") == []
    assert client.is_open
