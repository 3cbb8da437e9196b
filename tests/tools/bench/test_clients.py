from __future__ import annotations

import asyncio

import pytest

from tests.tools.bench.clients import Clients
from tests.tools.bench.floor import HEAD
from tests.tools.bench.questions import Return
from tests.tools.bench.server import Dialect
from tests.tools.bench.tally import Void


async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)


async def test_resuming_clients_without_events_time_out_as_void() -> None:
    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        clients = Clients(Dialect.GATEWAY)
        await clients.arrive(port, range(3))
        assert clients.leave() == 3
        served = await clients.come_back(Return(port, missed=1, seconds=0.01))
        assert served.seconds > 0
        with pytest.raises(Void, match=r"^0 events of 3 arrived$"):
            clients.take_tally().verify(3)
        assert clients.leave() == 3
