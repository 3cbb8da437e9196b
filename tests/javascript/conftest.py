"""One worker for all clients, that beats every second and takes tokens wherever they stand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conftest import Broker
from tests.integration.conftest import new_user
from tests.javascript.relay import Relay
from tests.shared import Shared, sharing
from tests.worker import Worker


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    async with sharing(
        broker,
        tmp_path_factory.mktemp("worker"),
        partitions=1,
        heartbeat_seconds=0.5,
        retry_ms=100,
        token_cookie="token",
        token_query="true",
    ) as made:
        yield made


@pytest.fixture
def user() -> str:
    return new_user()


@pytest.fixture
async def relay(worker: Worker) -> AsyncIterator[Relay]:
    async with Relay(worker.port) as started:
        yield started
