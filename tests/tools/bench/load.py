"""A helper that writes events to Kafka at an even rate, to one user after the other.

Told to write, it answers when the brokers have everything. Numbers go on from one order to the
next, so that a repeated event is found whenever it comes.
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

PADDING = 60
"""Bytes of ballast: with it an event has some 200 bytes on the wire, as a small real one has."""


class Load:
    """Writes to one topic: to users in turn, `first` and on, or for 0 users to everybody."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, first: int, users: int) -> None:
        self._producer = producer
        self._topic = topic
        self._first = first
        self._users = users
        self._written = 0

    async def write(self, order: Order) -> Written:
        """Write what was ordered; returns when the brokers have it."""
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
        value = envelope(user, EVENT_TYPE, payload(number, PADDING))
        await self._producer.send(self._topic, value, key=user.encode() or None)
        self._written += 1


def user_name(number: int) -> str:
    """Return the user that the stream with this number follows."""
    return f"bench-{number}"


async def main(bootstrap: str, topic: str, first: int, users: int) -> None:
    """Do what the bench says."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0) as producer:
        load = Load(producer, topic, first, users)
        async for line in questions():
            say(await load.write(msgspec.json.decode(line, type=Order)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
