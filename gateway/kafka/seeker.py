"""A consumer that reads the past: one log at a time, from any offset.

Logs are assigned and paused; to read one is to seek and resume it. Those that are going to be read
are best assigned together, for with each new topic aiokafka waits for metadata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException

from gateway.kafka.consumer import Consumer
from gateway.kafka.screen import ignore

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.core.log import Log
    from gateway.kafka.screen import Unreadable

HELD_MS = 10
"""How long a broker holds a fetch that finds nothing: the next log's fetch waits behind it."""

REFRESH_MS = 60_000
"""How often the leaders are looked up without a reason to; nobody waits here most of the time."""


class LogSeeker:
    """Reads one log at a time. Every method raises aiokafka's `KafkaError`."""

    def __init__(self, options: dict[str, Any], unreadable: Unreadable = ignore) -> None:
        self._current: TopicPartition | None = None
        self._position = 0
        self._consumer = Consumer(
            options,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=HELD_MS,
            refresh_ms=REFRESH_MS,
            unreadable=unreadable,
        )

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()

    def take(self, logs: Collection[Log]) -> None:
        """Be ready to read exactly these logs; cheap to call again."""
        self._consumer.take(logs)

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    def seek(self, log: Log, offset: int) -> None:
        """Go to an offset of a log, and leave the one that was read before."""
        self.rest()
        self._current = TopicPartition(*log)
        self._position = offset
        assigned = self._consumer.assignment()
        if self._current not in assigned:
            self._consumer.take([*assigned, self._current])
        self._consumer.seek(self._current, offset)
        self._consumer.resume(self._current)

    def rest(self) -> None:
        """Read nothing until the next `seek`."""
        if self._current in self._consumer.assignment():
            self._consumer.pause(self._current)
        self._current = None

    async def fetch(self, timeout_ms: int, most: int | None = None) -> tuple[list[Any], int]:
        """Return what comes next, at most `most` records, and the offset that follows it.

        The records are aiokafka's: `to_records` makes the core's of them. None come within
        `timeout_ms` at the end of the log, or while its leader is away. The offset may be further
        on than the last record: behind transaction markers, aborted records, and what nobody can
        read.
        """
        assert self._current is not None, "seek first"
        partition, options = self._current, {"timeout_ms": timeout_ms, "max_records": most}
        try:
            fetched = await self._consumer.getmany(partition, **options)
        except CorruptRecordException:  # now what is fetched is looked through
            self._consumer.seek(partition, self._position)
            fetched = await self._consumer.getmany(partition, **options)
        self._position = await self._consumer.position(partition)
        return fetched.get(partition, []), self._position

    def highwater(self) -> int:
        """Return the end of the log as the last fetch told it; 0 before there was one."""
        assert self._current is not None, "seek first"
        return self._consumer.highwater(self._current) or 0
