"""More records than a worker can read: compressed, for one user without a stream.

A batch is built once and gets a new timestamp for each write, so a writer in Python exceeds the
read rate of a worker.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.produce import ProduceRequest

from gateway.core.records import TopicPartition
from tests.brokers.batches import Row, batch, compressed, sealed
from tests.integration.poison import now
from tests.records import envelope

ROWS = 4000
"""Records of a batch; the last one is an event of a connected user."""

AT_ONCE = 4
TIMEOUT_MS = 10_000

_STAMPS = slice(27, 43)
"""The first and the greatest timestamp in a batch of version 2."""


def flood_batch(other: str, user: str) -> bytes:
    """Return a batch of records with limited compressibility, so a fetch has only a few."""
    rows = [Row(other.encode(), random.randbytes(12)) for _ in range(ROWS - 1)]
    rows.append(Row(user.encode(), envelope(user)))
    return compressed(batch(rows), "zstd")


@asynccontextmanager
async def writer(bootstrap: str, log: TopicPartition, content: bytes) -> AsyncIterator[Flood]:
    """Yield a writer of the batch."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        await client.set_topics([log.topic])
        yield Flood(client, log, content)
    finally:
        await client.close()


class Flood:
    """Writes one batch repeatedly, each time with the current timestamp."""

    def __init__(self, client: AIOKafkaClient, log: TopicPartition, content: bytes) -> None:
        self._client = client
        self._log = log
        self._content = content

    async def write(self, batches: int) -> None:
        """Write a number of batches, some concurrently."""
        left = iter(range(batches))

        async def one_after_another() -> None:
            for _ in left:
                await self._write()

        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))

    async def write_until_cancelled(self, rate: float) -> None:
        """Write batches at a rate, or as fast as the broker accepts them."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self.write(AT_ONCE)
            due = max(due + AT_ONCE / rate, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _write(self) -> None:
        changed = bytearray(self._content)
        changed[_STAMPS] = struct.pack(">qq", now(), now())
        leader = self._client.cluster.leader_for_partition(self._log)
        topic, partition = self._log
        request = ProduceRequest(None, 1, TIMEOUT_MS, [(topic, [(partition, sealed(changed))])])
        response = await self._client.send(leader, request)
        ((_, ((_, code, *_),)),) = response.topics
        if code:
            raise for_code(code)
