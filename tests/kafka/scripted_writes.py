"""A scripted broker that acknowledges writes, or answers what a test wants."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from gateway.core.records import TopicPartition
from gateway.kafka.client import wire
from gateway.kafka.client.wire import array_head, string
from tests.brokers.scripted import VERSIONS, Request, ScriptedServer, describe_cluster

TOPIC = "user-events"


class Writes:
    """The requests of a producer; the answers to the next writes are taken from `script`.

    An element of `script` is an error code or a function of the request; without one a write is
    acknowledged. `ids` is the number of assigned producer ids, `id_error` the error code of the
    requests for one.
    """

    def __init__(self, topics: Mapping[str, int]) -> None:
        self.script: deque[int | Callable[[Request], bytes | None]] = deque()
        self.topics = topics
        self.ids = 0
        self.id_error = 0
        self.throttle_ms = 0
        self.server = ScriptedServer(
            self._answer, {**VERSIONS, wire.PRODUCE: (3, 7), wire.INIT_PRODUCER_ID: (0, 1)}
        )

    @property
    def requests(self) -> list[dict[TopicPartition, bytes]]:
        """The batches of each write request."""
        return [
            read_batches(request.body)
            for request in self.server.requests
            if request.api_key == wire.PRODUCE
        ]

    def _answer(self, request: Request) -> bytes | None:
        if request.api_key == wire.METADATA:
            return describe_cluster(request, self.server.port, self.topics)
        if request.api_key == wire.INIT_PRODUCER_ID:
            self.ids += not self.id_error
            return struct.pack(">iihqh", request.correlation_id, 0, self.id_error, self.ids, 0)
        if request.api_key != wire.PRODUCE:
            return None
        scripted = self.script.popleft() if self.script else 0
        if not isinstance(scripted, int):
            return scripted(request)
        codes = dict.fromkeys(read_batches(request.body), scripted)
        return written(request, codes, self.throttle_ms)


def written(request: Request, codes: Mapping[TopicPartition, int], throttle_ms: int = 0) -> bytes:
    """Return an answer to a write request of version 7."""
    parts = [struct.pack(">i", request.correlation_id), array_head(len(codes), flexible=False)]
    for log, code in codes.items():
        parts += [
            string(log.topic, flexible=False),
            struct.pack(">iihqqq", 1, log.partition, code, 0, -1, 0),
        ]
    return b"".join([*parts, struct.pack(">i", throttle_ms)])


def read_batches(body: bytes) -> dict[TopicPartition, bytes]:
    """Return the batches of a write request; `body` begins with the client id."""
    reader = wire.Reader(body, flexible=False)
    reader.string()  # client_id
    reader.raw(8)  # transactional_id, acks, timeout_ms
    found = {}
    for _ in range(reader.count()):
        topic = reader.string() or ""
        for _ in range(reader.count()):
            partition = reader.int32()
            found[TopicPartition(topic, partition)] = reader.bytes()
    return found


def number_of(batch: bytes) -> tuple[int, int]:
    """Return the producer id and the sequence number of a batch."""
    producer, _, number = struct.unpack_from(">qhi", batch, 43)
    return producer, number


@asynccontextmanager
async def scripted(topics: int = 1) -> AsyncIterator[Writes]:
    """Run a broker with topics of one partition, the first of which is `TOPIC`."""
    names = [TOPIC, *(f"{TOPIC}-{number}" for number in range(1, topics))]
    made = Writes(dict.fromkeys(names, 1))
    async with made.server:
        yield made
