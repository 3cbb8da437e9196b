"""The bench itself: one tiny row, so that it does not rot. No time is asserted anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.demo.broker import EmbeddedBroker
from tests.bench.delivery import Delivery
from tests.bench.ground import Ground

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_tiny_row_delivers_everything_once_and_has_figures(tmp_path: Path) -> None:
    row = Delivery(rate=50, streams=50, seconds=1, warm_up=0.2)
    async with EmbeddedBroker() as broker:
        sample = await row.measure(Ground(broker.bootstrap, tmp_path))  # raises where not
    assert all(value > 0 for value in sample.values()), sample
