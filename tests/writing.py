"""Writers that never give up: every user's events numbered, `acks=all`, whatever happens to Kafka.

A write that fails may have reached the log or not, and an idempotent producer that has given one up
cannot guarantee the order of the next. Clients must therefore get the final contents of the log,
not the events sent; the log has everything that was acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from tests.records import TYPE, envelope, number_of, numbered

REQUEST_MS = 5000
"""A leader that is silent for so long is given up, and the event with it."""

RETRY_SECONDS = 0.2


class SteadyWriter:
    """Writes events of each user, the next one when the last one was acknowledged or given up.

    `acknowledged` has, by user, when each number was (`time.monotonic()`); `refused` counts writes
    that were given up. After such a write all continue with a new producer, since the old one's
    sequence has a hole.
    """

    def __init__(
        self, bootstrap: str, topic: str, users: Iterable[str], *, interval: float
    ) -> None:
        self.acknowledged: dict[str, dict[int, float]] = {user: {} for user in users}
        self.refused = 0
        self._bootstrap = bootstrap
        self._topic = topic
        self._interval = interval
        self._next = dict.fromkeys(self.acknowledged, 0)
        self._enough = asyncio.Event()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write while the block runs; it ends with the last acknowledgements."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_all())
            try:
                yield
            finally:
                self._enough.set()

    async def _write_all(self) -> None:
        while not self._enough.is_set():
            failed = asyncio.Event()
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap,
                enable_idempotence=True,
                request_timeout_ms=REQUEST_MS,
            )
            try:
                await producer.start()
                async with asyncio.TaskGroup() as group:
                    for user in self.acknowledged:
                        group.create_task(self._write(producer, user, failed))
            except KafkaError:
                await asyncio.sleep(RETRY_SECONDS)  # no broker answers
            finally:
                await producer.stop()

    async def _write(self, producer: AIOKafkaProducer, user: str, failed: asyncio.Event) -> None:
        """Write until it is enough, or a write fails: this user's or another one's."""
        while not self._enough.is_set() and not failed.is_set():
            number = self._next[user]
            self._next[user] += 1
            value = envelope(user, TYPE, numbered(number))
            try:
                await producer.send_and_wait(self._topic, value, key=user.encode())
            except KafkaError:
                self.refused += 1
                failed.set()
            else:
                self.acknowledged[user][number] = time.monotonic()
                await asyncio.sleep(self._interval)


async def numbers_by_user(bootstrap: str, topic: str, partitions: int) -> dict[str, list[int]]:
    """Return the numbers of each user's events as the log has them, read from start to end."""
    found: dict[str, list[int]] = {}
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    ) as consumer:
        logs = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(logs)
        ends = await consumer.end_offsets(logs)
        for log in logs:
            while await consumer.position(log) < ends[log]:
                for records in (await consumer.getmany(log, timeout_ms=1000)).values():
                    for record in records:
                        found.setdefault(record.key.decode(), []).append(number_of(record.value))
    return found
