"""Nchan as the bench runs it, with publisher and clients of the bench; needs no broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.tools.bench.audience import audience
from tests.tools.bench.delivery import Pace
from tests.tools.bench.helper import helper
from tests.tools.bench.nchan import MISSING, is_installed, nchan
from tests.tools.bench.process import tree
from tests.tools.bench.server import Dialect

pytestmark = pytest.mark.skipif(not is_installed(), reason=MISSING)

STREAMS = 10
PACE = Pace(100, seconds=0.5, warm_up=0.1)


@pytest.mark.parametrize(
    ("dialect", "users", "copies"),
    [(Dialect.NCHAN, STREAMS, 1), (Dialect.NCHAN_BROADCAST, 0, STREAMS)],
)
async def test_every_event_arrives_once(
    dialect: Dialect, users: int, copies: int, tmp_path: Path
) -> None:
    async with (
        nchan(tmp_path) as server,
        helper("posts", server.port, users) as writer,
        audience(server.port, STREAMS, dialect=dialect) as clients,
    ):
        delivered = await PACE.deliver(writer, clients, server.pid, copies)  # raises `Void`
    assert delivered.tally.events == 50 * copies


async def test_the_worker_process_belongs_to_its_process_tree(tmp_path: Path) -> None:
    async with nchan(tmp_path) as server:  # the master listens before it starts workers
        await eventually("a worker process", lambda: len(tree(server.pid)) == 2)
