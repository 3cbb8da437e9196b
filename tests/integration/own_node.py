"""Fixtures for tests that stop their broker, or that change its files.

A module imports both: `from tests.integration.own_node import broker, node`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.brokers.kafka import KafkaNode
from tests.conftest import Broker, require_kafka


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[KafkaNode]:
    """A Kafka of the test's own; its quota windows are short, so that throttle times are."""
    require_kafka()
    windows = {"quota.window.num": 2, "quota.window.size.seconds": 1}
    async with KafkaNode(tmp_path / "kafka", properties=windows) as running:
        yield running


@pytest.fixture
def broker(node: KafkaNode) -> Broker:
    return Broker("kafka", node.bootstrap)
