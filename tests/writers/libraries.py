"""Producers that are Python libraries; the others are in `programs`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer
from cloudevents.core.bindings.kafka import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Message, Producer

from tests.writers.programs import RUN_SECONDS, Row

NOWHERE = -1
"""The partition of a record that was not written."""


async def aiokafka(bootstrap: str, topic: str, rows: Sequence[Row], folder: Path) -> list[int]:
    """Write with aiokafka."""
    records = [(row.key.encode(), row.value.encode(), _headers(row)) for row in rows]
    return await _aiokafka(bootstrap, topic, records)


async def librdkafka(bootstrap: str, topic: str, rows: Sequence[Row], folder: Path) -> list[int]:
    """Write with librdkafka as it is: it partitions by CRC-32."""
    return await _librdkafka(bootstrap, topic, rows, {})


async def librdkafka_murmur2(
    bootstrap: str, topic: str, rows: Sequence[Row], folder: Path
) -> list[int]:
    """Write with librdkafka, set to partition as the Java client does."""
    return await _librdkafka(bootstrap, topic, rows, {"partitioner": "murmur2_random"})


async def cloud_events_of_python(
    bootstrap: str, topic: str, rows: Sequence[Row], folder: Path
) -> list[int]:
    """Write CloudEvents with their Python SDK; each row has headers `type` and `mode`."""
    records = []
    for row in rows:
        options = dict(row.headers)
        attributes = {
            "type": options["type"],
            "source": "/tests",
            "datacontenttype": "application/json",
            "partitionkey": row.key,
        }
        if options["mode"] == "binary":
            message = to_binary_event(CloudEvent(attributes, row.value))
        else:
            message = to_structured_event(CloudEvent(attributes, json.loads(row.value)))
        assert isinstance(message.key, str)
        records.append((message.key.encode(), message.value, [*message.headers.items()]))
    return await _aiokafka(bootstrap, topic, records)


def _headers(row: Row) -> list[tuple[str, bytes]]:
    return [(name, content.encode()) for name, content in row.headers]


async def _aiokafka(
    bootstrap: str, topic: str, records: list[tuple[bytes, bytes, list[tuple[str, bytes]]]]
) -> list[int]:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        sent = [
            await producer.send(topic, value, key=key, headers=headers)
            for key, value, headers in records
        ]
        return [record.partition for record in await asyncio.gather(*sent)]


async def _librdkafka(
    bootstrap: str, topic: str, rows: Sequence[Row], options: dict[str, str]
) -> list[int]:
    def write() -> list[int]:
        partitions = [NOWHERE] * len(rows)
        producer = Producer({"bootstrap.servers": bootstrap, **options})
        for number, row in enumerate(rows):

            def delivered(error: object, message: Message, number: int = number) -> None:
                if error is None:
                    partitions[number] = message.partition() or 0

            producer.produce(
                topic,
                row.value.encode(),
                row.key.encode(),
                headers=[*_headers(row)],
                on_delivery=delivered,
            )
        producer.flush(RUN_SECONDS)
        return partitions

    return await asyncio.to_thread(write)
