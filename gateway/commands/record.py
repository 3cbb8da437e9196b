"""`gateway record`: print one Kafka record and the event decoded from it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.console import ConfigFile, harmless, to_stdout
from gateway.commands.findings import read_record
from gateway.commands.reading import reading, topic_decoder
from gateway.config import load_settings
from gateway.core.records import LogKind, Record, TopicPartition, Unreadable
from gateway.core.source import Source
from gateway.errors import BrokerError
from gateway.event_types import load_registry
from gateway.kafka.client.options import connection_options
from gateway.kafka.diagnosis import missing_right
from gateway.kafka.probe import probe
from gateway.kafka.topics import describe

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.core.event import Decoder

SHOWN_BYTES = 4096
"""Printed bytes of a value; the beginning of a large payload is enough."""


def record(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Topic, as in the log.")],
    partition: Annotated[
        int, typer.Argument(metavar="PARTITION", min=0, help="Partition of the record.")
    ],
    offset: Annotated[int, typer.Argument(metavar="OFFSET", min=0, help="Offset of the record.")],
    config: ConfigFile = None,
) -> None:
    """Show one record and whether it is an event.

    Use it for a record that the log or the dashboard names, such as a skipped one.
    """
    settings = load_settings(config)
    found = asyncio.run(_read(settings, TopicPartition(topic, partition), offset))
    decoder = asyncio.run(_decoder(settings, topic, found))
    console = to_stdout()
    sources = {source.topic: source for source in settings.event_sources}
    source = sources.get(topic, Source(topic, LogKind.USER))
    for line in describe_record(source, found, decoder):
        console.print(line, markup=False, soft_wrap=True)


async def _decoder(settings: Settings, topic: str, record: Record) -> Decoder:
    async with reading(settings) as schemas:
        return await topic_decoder(load_registry(settings), schemas, topic, [record])


async def _read(settings: Settings, log: TopicPartition, offset: int) -> Record:
    options = connection_options(settings)
    cluster = await describe(options, [log.topic])
    partitions = cluster.partitions.get(log.topic, 0)
    if log.topic in cluster.denied:
        raise BrokerError(*missing_right("Read", log.topic, options))
    if not partitions:
        raise BrokerError(f"topic {log.topic} does not exist", "name the topic as in the log")
    if log.partition >= partitions:
        raise BrokerError(
            f"topic {log.topic} does not have a partition {log.partition}",
            f"its partitions are 0 to {partitions - 1}",
        )
    async with probe(options) as looking:
        extent = await looking.extent(log, 0)  # also loads the metadata that reading needs
        within = extent.start <= offset < extent.end
        found = await looking.record(log, offset) if within else None
        if found is None:
            raise BrokerError(
                f"no record at offset {offset}"
                + (": it was compacted, belongs to a transaction or is corrupt" if within else ""),
                f"the log has the offsets {extent.start} to {extent.end - 1}"
                if extent.end > extent.start
                else "the partition is empty",
            )
    return found


def describe_record(source: Source, record: Record, decoder: Decoder) -> list[str]:
    """Return the lines that show a record, with terminal control characters escaped."""
    read = read_record(source, record, decoder)
    lines = [f"time    {_moment(record.timestamp)}", f"key     {_shown(record.key)}"]
    lines += [f"header  {harmless(name)}: {_shown(value)}" for name, value in record.headers]
    lines.append(f"value   {_shown(record.value)}")
    if isinstance(read, Unreadable):
        detail = f": {read.detail}" if read.detail else ""
        return [*lines, f"skipped {read.reason}{detail}"]
    return [*lines, f"event   {harmless(read.event_type)}, category {read.category or 'none'}"]


def _moment(timestamp: int) -> str:
    try:
        return f"{datetime.fromtimestamp(timestamp / 1000).astimezone():%F %T %z}"
    except (ValueError, OverflowError, OSError):  # producers can write any number
        return f"{timestamp} ms"


def _shown(data: bytes | None) -> str:
    if data is None:
        return "none"
    text = harmless(data[:SHOWN_BYTES].decode("utf-8", "backslashreplace"))
    return text if len(data) <= SHOWN_BYTES else f"{text}… ({len(data)} bytes)"
