"""A tiny row of each kind runs. Times are not asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.demo.broker import EmbeddedBroker
from tests.tools.bench.absence import Absence
from tests.tools.bench.broadcast import Broadcast
from tests.tools.bench.cold import Cold
from tests.tools.bench.crowd import Crowd
from tests.tools.bench.delivery import Delays, Delivery, Pace
from tests.tools.bench.endurance import Endurance
from tests.tools.bench.figures import NCHAN, Sample
from tests.tools.bench.flat import Flat
from tests.tools.bench.ground import Ground, Row
from tests.tools.bench.handover import Handover
from tests.tools.bench.heartbeat import Heartbeat
from tests.tools.bench.idle import Idle
from tests.tools.bench.ingest import Ingest
from tests.tools.bench.opening import Opening
from tests.tools.bench.restart import Restart
from tests.tools.bench.resume import Resume
from tests.tools.bench.rivals import Rivals
from tests.tools.bench.rows import ROWS
from tests.tools.bench.sources import Sources

SHORT = Pace(50, seconds=0.5, warm_up=0.1)

TINY = [
    Delivery(SHORT, streams=30, beside_nchan=True),
    Delays(SHORT, streams=10, delays=(0, 20)),
    Broadcast(SHORT, streams=10),
    Idle(streams=30, seconds=0.2, settle=0.1),
    Resume(Absence(clients=20, missed=3), beside_nchan=True),
    Restart(Absence(clients=20, missed=2), spread=0.2),
    Opening(streams=20, rounds=1),
    Handover(streams=20, rounds=1, warm_up=1),
    Heartbeat(streams=20, interval=0.3, seconds=1),
    Rivals(20, 20, SHORT, SHORT, missed=3),
    Cold(Absence(clients=20, missed=3, others=500)),
    Crowd(clients=20, missed=3),
    Sources(SHORT, streams=20, topics=2),
    Ingest(SHORT),
    Flat(SHORT, sizes=(10, 30)),
    Endurance(SHORT, streams=20, parts=2, settle=0.1),
]


async def measure(row: Row, folder: Path) -> Sample:
    async with EmbeddedBroker() as broker:
        return await row.measure(Ground(broker.bootstrap, folder))  # raises `Void`


@pytest.mark.parametrize("row", TINY, ids=lambda row: type(row).__name__)
async def test_a_tiny_row_delivers_every_event_once_and_has_figures(
    row: Row, tmp_path: Path
) -> None:
    sample = await measure(row, tmp_path)
    of_gateway = {type(goal.row): goal.targets for goal in ROWS.values()}[type(row)]
    assert sample
    assert {quantity for quantity in of_gateway if NCHAN not in quantity.whose} <= sample.keys()


def test_each_kind_of_row_has_a_tiny_one() -> None:
    assert {type(row) for row in TINY} == {type(goal.row) for goal in ROWS.values()}
