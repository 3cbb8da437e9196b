from __future__ import annotations

import pytest

from tests.kafka.fetch.simulation import World


@pytest.fixture
def world() -> World:
    return World()
