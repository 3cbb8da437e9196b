"""A client that does not read: it lags as a cursor, delays no other client and loses no events."""

from __future__ import annotations

import asyncio

from tests.integration.conftest import SetUp, new_user
from tests.records import TYPE, RecordWriter, numbered

BULK = 200
SIZE = 40_000
"""200 events of 40 kB are more than the buffers of two kernels and two programs take."""


async def write_bulk(write: RecordWriter, user: str) -> None:
    """Write events that are large enough for few of them to fill every buffer on the way."""
    await asyncio.gather(
        *(write.event(user, TYPE, b'"%d %s"' % (n, b"x" * SIZE)) for n in range(BULK))
    )


def bulk_numbers(data: list[str]) -> list[int]:
    """Return which of the large events came."""
    return [int(text[1:].partition(" ")[0]) for text in data]


async def test_slow_client_delays_no_others_and_gets_every_event_once_it_reads(
    set_up: SetUp, user: str
) -> None:
    stage = await set_up(1, slow_seconds=600)  # however busy the machine is
    neighbour = new_user()
    slow, quick = await stage.open(user), await stage.open(neighbour)
    slow.stall()
    await write_bulk(stage.write, user)

    for number in range(20):
        await stage.write.numbered(neighbour, [number])
        await quick.wait_for(number + 1)
    assert quick.numbers == list(range(20)), "another user's events come while this one is stuck"
    assert len(slow.events) < BULK

    slow.go_on()
    await slow.wait_for(BULK)
    await stage.write.event(user, TYPE, numbered(1))
    await slow.wait_for(BULK + 1)
    assert sorted(bulk_numbers(slow.data[:-1])) == list(range(BULK))
    assert slow.data[-1] == '{"n":1}'
    assert slow.own("gap") == []
    assert slow.own("close") == []


async def test_a_client_that_stays_stuck_is_closed_and_loses_nothing(
    set_up: SetUp, user: str
) -> None:
    stage = await set_up(1, slow_seconds=0.5)
    client = await stage.open(user)
    client.stall()

    await write_bulk(stage.write, user)
    await stage.worker.wait_for_metric("gateway_closes_total", 1, reason="slow")
    client.go_on()
    await client.wait_for_end()
    assert len(client.data) < BULK

    # To one that is as patient as by default: our parser takes seconds for so much.
    patient = await stage.start()
    await client.reconnect(url=patient.events_url)
    await client.wait_for(lambda client: len(client.data) == BULK)
    assert sorted(bulk_numbers(client.data)) == list(range(BULK))
    assert client.own("gap") == []
