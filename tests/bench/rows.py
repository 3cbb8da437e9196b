"""The rows of the bench, by the names that `make bench ROW=…` takes."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from tests.bench.broadcast import Broadcast
from tests.bench.delivery import Delivery
from tests.bench.idle import Idle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.bench.ground import Row

ROWS: Mapping[str, Row] = MappingProxyType(
    {
        "delivery": Delivery(rate=2000, streams=2000),
        "broadcast": Broadcast(rate=10, streams=2000),
        "trickle": Delivery(rate=20, streams=2000, seconds=15),
        "idle": Idle(streams=9000),
    }
)
