"""A helper for the floor of reading: aiokafka reads a topic from begin to end.

Each record is decoded by aiokafka, counted, and dropped.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
from aiokafka import AIOKafkaConsumer

from tests.tools.bench.helper import questions, say

WAIT_MS = 100


class Pass(msgspec.Struct):
    """One pass over a topic; `cpu` is in seconds of this process."""

    records: int
    cpu: float


async def read(bootstrap: str, topic: str) -> Pass:
    """Read the topic up to its present end."""
    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    ) as consumer:
        left = await consumer.end_offsets(consumer.assignment())
        begin = time.process_time()
        records = 0
        while left := {
            partition: end
            for partition, end in left.items()
            if await consumer.position(partition) < end
        }:
            for batch in (await consumer.getmany(timeout_ms=WAIT_MS)).values():
                records += len(batch)
        return Pass(records, time.process_time() - begin)


async def main(bootstrap: str, topic: str) -> None:
    """Read the topic once for each question."""
    async for _ in questions():
        say(await read(bootstrap, topic))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
