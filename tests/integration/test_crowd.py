"""A thousand clients resume at once: they share scans, and each gets its own events."""

from __future__ import annotations

import asyncio
import re

from gateway.core.records import TopicPartition
from tests.brokers.batches import Row, batch
from tests.brokers.raw import write_batch
from tests.conftest import Broker
from tests.eventually import DEADLINE
from tests.integration.conftest import SetUp, new_user
from tests.integration.poison import now, row
from tests.records import envelope
from tests.tokens import mint

CROWD = 1000

EACH = 3
"""Events of each of them that are written while they are away."""

NOISE = 4000
"""Records of another user between two rounds of these events."""

NUMBER = re.compile(rb'\ndata: \{"n":(\d+)\}\n')


async def come_back(port: int, user: str, event_id: str) -> list[int]:
    """Resume, and return the numbers of the events, as soon as there are enough.

    Bare asyncio streams: a whole HTTP client for each would take the machine from the worker.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            b"GET /api/v1/events HTTP/1.1\r\nHost: crowd\r\nAccept: text/event-stream\r\n"
            b"Authorization: Bearer %b\r\nLast-Event-ID: %b\r\n\r\n"
            % (mint(user).encode(), event_id.encode())
        )
        received = b""
        while len(numbers := NUMBER.findall(received)) < EACH:
            data = await reader.read(65_536)
            assert data, f"the stream ended after {received[-300:]!r}"
            received += data
        assert b"event: stream." not in received
        return [int(number) for number in numbers]
    finally:
        writer.transport.abort()


async def test_a_thousand_clients_that_come_back_at_once_share_scans(
    set_up: SetUp, broker: Broker
) -> None:
    stage = await set_up(1, tail_bytes=20_000, tail_warm_seconds=0)
    seen = await stage.witness()
    client = await stage.open(new_user())
    users = [new_user() for _ in range(CROWD)]
    stranger = new_user()
    noise = [Row(stranger.encode(), envelope(stranger))] * NOISE
    log = TopicPartition(stage.topics.user, 0)
    for number in range(EACH):
        events = [row(user, number) for user in users]
        await write_batch(broker.bootstrap, log, batch(events, timestamp=now()))
        await write_batch(broker.bootstrap, log, batch(noise, timestamp=now()))
    await seen.has_seen_everything()

    async with asyncio.timeout(DEADLINE):
        received = await asyncio.gather(
            *(come_back(stage.worker.port, user, client.last_event_id) for user in users)
        )

    assert received == [[*range(EACH)]] * CROWD
    written = EACH * (CROWD + NOISE)
    # A scan is counted at its end, after its last event.
    await stage.worker.wait_for_metric("gateway_replays_waiting", 0)
    scans = await stage.worker.metric("gateway_replay_seconds_count")
    scanned = await stage.worker.metric("gateway_replay_records_scanned_total")
    assert scans <= CROWD / 50
    assert scanned <= (scans + 1) * written
    await stage.worker.wait_for_metric("gateway_events_sent_total", CROWD * EACH, path="replay")
    await stage.worker.wait_for_metric("gateway_replays_waiting", 0)
