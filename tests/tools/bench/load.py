"""A helper that writes events to Kafka at an even rate, to users round robin.

It answers an order when the brokers acknowledged all events. Numbers continue across orders, so a
late repeated event is detected.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
from aiokafka import AIOKafkaProducer

from tests.records import envelope
from tests.tools.bench.helper import questions, say
from tests.tools.bench.pacing import Order, Written, due
from tests.tools.bench.payload import payload

EVENT_TYPE = "import.progress"

CHANNELS = "centrifugo-channels"

PADDING = 60
"""Bytes of padding: an event then has about 200 bytes on the wire, like a small real one."""


class Load:
    """Writes to one topic: to users from `first` on, round robin; 0 users mean broadcasts.

    With `channels` a record is as Centrifugo's consumer reads it: the payload, and the channel in a
    header.
    """

    def __init__(
        self, producer: AIOKafkaProducer, topic: str, first: int, users: int, *, channels: bool
    ) -> None:
        self._channels = channels
        self._producer = producer
        self._topic = topic
        self._first = first
        self._users = users
        self._written = 0

    async def write(self, order: Order) -> Written:
        """Write the ordered events; return when the brokers acknowledged them."""
        begin = time.monotonic()
        first = self._written
        async for count in due(order):
            for _ in range(count):
                await self._write_one()
        seconds = time.monotonic() - begin
        await self._producer.flush()
        return Written(self._written - first, seconds)

    async def _write_one(self) -> None:
        number, turn = divmod(self._written, self._users or 1)
        user = user_name(self._first + turn) if self._users else ""
        value, headers = payload(number, PADDING), None
        if self._channels:
            headers = [(CHANNELS, (user or "broadcasts").encode())]
        else:
            value = envelope(user, EVENT_TYPE, value)
        await self._producer.send(self._topic, value, key=user.encode() or None, headers=headers)
        self._written += 1


def user_name(number: int) -> str:
    """Return the user of the stream with this number."""
    return f"bench-{number}"


async def main(
    bootstrap: str, topic: str, first: int, users: int, *, channels: bool = False
) -> None:
    """Execute the orders of the bench."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0) as producer:
        load = Load(producer, topic, first, users, channels=channels)
        async for line in questions():
            say(await load.write(msgspec.json.decode(line, type=Order)))


if __name__ == "__main__":
    bootstrap, topic, first, users, *channels = sys.argv[1:]
    asyncio.run(main(bootstrap, topic, int(first), int(users), channels=bool(channels)))
