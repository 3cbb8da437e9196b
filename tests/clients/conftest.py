"""One worker for all clients, on the embedded broker, that lets them feel everything soon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import Broker
from tests.integration.conftest import new_user
from tests.relay import Relay
from tests.shared import Shared, sharing
from tests.worker import Worker

MAX_EVENTS = 100
"""Largest number of missed events that a client gets without a gap."""

SETTINGS: dict[str, Any] = {
    "retry_ms": 100,
    "heartbeat_seconds": 0.5,
    "replay_max_events": MAX_EVENTS,
    "sharding": "redirect",
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    async with sharing(broker, tmp_path_factory.mktemp("worker"), **SETTINGS) as made:
        yield made


@pytest.fixture
def user() -> str:
    return new_user()


@pytest.fixture
async def relay(worker: Worker) -> AsyncIterator[Relay]:
    """The network between a client and the worker."""
    async with Relay(worker.port) as passing:
        yield passing
