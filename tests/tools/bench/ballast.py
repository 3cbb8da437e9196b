"""A helper that writes events of users without streams: tens of thousands a second.

librdkafka needs a small part of a core for this rate; aiokafka would need a whole one. The helper
answers when the brokers acknowledged all events.
"""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import cycle, islice

import msgspec
from confluent_kafka import Producer

from tests.records import envelope
from tests.tools.bench.helper import questions, say
from tests.tools.bench.load import EVENT_TYPE, PADDING
from tests.tools.bench.pacing import Order, Written, due
from tests.tools.bench.payload import payload

USERS = 1000

AT_ONCE = 1e6
"""An order of 1 µs at a millionfold rate means: as fast as possible."""

FLUSH_SECONDS = 60.0


async def write(producer: Producer, topic: str, order: Order) -> Written:
    """Write the ordered events to the users, round robin."""
    names = [f"other-{number}" for number in range(USERS)]
    records = cycle([(each, envelope(each, EVENT_TYPE, payload(0, PADDING))) for each in names])
    begin = time.monotonic()
    written = 0
    async for count in due(order):
        for key, value in islice(records, count):
            _produce(producer, topic, key, value)
        producer.poll(0)
        written += count
    seconds = time.monotonic() - begin
    left = await asyncio.to_thread(producer.flush, FLUSH_SECONDS)
    assert not left, f"{left} records were not written"
    return Written(written, seconds)


def _produce(producer: Producer, topic: str, key: str, value: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
        except BufferError:
            producer.poll(0.05)  # wait until the brokers acknowledged some
        else:
            return


async def main(bootstrap: str, topic: str) -> None:
    """Execute the orders of the bench."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    async for line in questions():
        say(await write(producer, topic, msgspec.json.decode(line, type=Order)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
