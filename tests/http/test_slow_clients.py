"""Clients that stop reading, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway import clock
from gateway.core import frame
from gateway.core.gap import CloseReason
from gateway.core.stream import State
from gateway.http.transport import connection
from tests.eventually import eventually
from tests.http.raw_client import RawClient
from tests.http.served import Served
from tests.sse import EventStreamParser

MANY = 300
PAYLOADS = [b'"%d %s"' % (number, b"x" * 2000) for number in range(MANY)]
"""Far more than the sockets' buffers and the transport's mark take, so that a stream is stuck."""


async def until_state(served: Served, state: State) -> None:
    await eventually(f"the stream is {state}", lambda: served.stream.state is state)


async def payloads_of(client: RawClient, count: int) -> list[str]:
    """Read chunks until that many events have come."""
    parser, events = EventStreamParser(), 0
    received = []
    while events < count:
        for event in parser.feed(await client.chunk()):
            received.append(event.data)
            events += 1
    return received


async def test_client_that_stops_reading_is_stuck_and_gets_each_event_once_when_it_resumes(
    served: Served, client: RawClient
) -> None:
    await served.open(client)
    for payload in PAYLOADS[:200]:
        served.publish(payload)
    await until_state(served, State.STUCK)
    written = served.stream.sent
    assert 0 < written < 200, "nothing more is written to a transport that is full"
    for payload in PAYLOADS[200:]:
        served.publish(payload)
    assert served.stream.sent == written

    received = await payloads_of(client, MANY)

    assert received == [payload.decode() for payload in PAYLOADS]
    await until_state(served, State.LIVE)
    served.publish(b'"last"')
    assert await payloads_of(client, 1) == ['"last"']


async def test_a_client_may_stop_reading_many_times(served: Served, client: RawClient) -> None:
    await served.open(client)
    received = []
    for begin in range(0, MANY, 100):
        served.publish(*PAYLOADS[begin : begin + 100])
        await until_state(served, State.STUCK)
        received += await payloads_of(client, 100)
    assert received == [payload.decode() for payload in PAYLOADS]


async def test_a_slow_client_that_is_ended_may_still_read_all_that_was_written_to_it(
    served: Served, client: RawClient, monkeypatch: pytest.MonkeyPatch, quiet: Callable[[], None]
) -> None:
    await served.open(client)
    served.publish(*PAYLOADS[:100])
    await until_state(served, State.STUCK)
    loop = asyncio.get_running_loop()
    original, limits = loop.call_later, []

    def call_later(delay: float, callback: Any, *args: Any, **options: Any) -> asyncio.TimerHandle:
        handle = original(delay, callback, *args, **options)
        if delay == connection.FLUSH_SECONDS:
            limits.append((handle, callback))
        return handle

    monkeypatch.setattr(loop, "call_later", call_later)
    served.hub.close(served.stream, CloseReason.SLOW, clock.now())

    assert await payloads_of(client, 100) == [payload.decode() for payload in PAYLOADS[:100]]
    goodbye = frame.chunk(frame.close(CloseReason.SLOW)) + frame.LAST_CHUNK
    assert await client.rest() == goodbye
    await served.until_open(0)
    [(limit, cut)] = limits
    if not limit.cancelled():
        cut()  # the time limit of a connection that is already closed
    quiet()


async def test_a_client_that_never_reads_is_cut_off(
    served: Served, client: RawClient, monkeypatch: pytest.MonkeyPatch, quiet: Callable[[], None]
) -> None:
    await served.open(client)
    served.publish(*PAYLOADS[:100])
    await until_state(served, State.STUCK)
    monkeypatch.setattr(connection, "FLUSH_SECONDS", 0.1)
    served.hub.close(served.stream, CloseReason.SLOW, clock.now())

    await asyncio.sleep(0.2)  # its time limit expires
    rest = await client.rest()

    assert not rest.endswith(frame.LAST_CHUNK)
    assert len(rest) < sum(map(len, PAYLOADS[:100]))
    quiet()


async def test_a_stream_that_stays_stuck_is_ended_by_the_clock(
    served: Served, client: RawClient
) -> None:
    await served.open(client)
    served.publish(*PAYLOADS[:100])
    await until_state(served, State.STUCK)
    now = clock.now()
    served.hub.tick(now._replace(monotonic=now.monotonic + 29))
    assert served.stream.state is State.STUCK
    served.hub.tick(now._replace(monotonic=now.monotonic + 31))
    assert len(served.hub.streams) == 0
    await payloads_of(client, 100)
    assert b'{"reason":"slow"}' in await client.rest()
