"""Decoding of records by commands: also values that a Schema Registry describes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.core.event import Decoder
from gateway.core.records import Unreadable
from gateway.core.values import read_value
from gateway.schemas.startup import open_schemas
from gateway.supervise import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from gateway.config import Settings
    from gateway.core.records import Event, Record
    from gateway.core.registry import Registry
    from gateway.core.source import Source
    from gateway.core.values import Values
    from gateway.schemas.cache import Schemas
    from gateway.supervise import Part


class TopicDecoder(Decoder):
    """Decodes the records of one topic, whose values a schema may describe."""

    def __init__(self, registry: Registry, values: Values | None, topic: str) -> None:
        super().__init__(registry)
        self._values = values
        self._topic = topic

    def decode(
        self, record: Record, *, keyed: bool, source: Source | None = None
    ) -> Event | Unreadable:
        """Return the event in `record`, or why it is unreadable; leaves the record as it is."""
        read = read_value(self._values, self._topic, record)
        if isinstance(read, Unreadable):
            return read
        return super().decode(read, keyed=keyed, source=source)


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[Schemas | None]:
    """Open the schemas of the settings' sources; None if no source needs any.

    Raises `SettingsError` for settings that cannot work.
    """
    schemas = open_schemas(settings, Supervisor(_Failures()).contain)
    try:
        yield schemas
    finally:
        if schemas is not None:
            await schemas.close()


async def topic_decoder(
    registry: Registry, schemas: Schemas | None, topic: str, records: Iterable[Record]
) -> TopicDecoder:
    """Return a decoder for these records of a topic; their schemas are fetched first."""
    if schemas is not None:
        await schemas.settle(schemas.missing(topic, records))
    return TopicDecoder(registry, schemas, topic)


class _Failures:
    """Lets an unexpected exception end the command."""

    def failed(self, part: Part, error: BaseException) -> None:
        del part
        raise error
