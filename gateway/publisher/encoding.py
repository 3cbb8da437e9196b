"""Which topic an event is written to, and its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.records import LogKind
from gateway.core.source import Source
from gateway.errors import PublishError, SettingsError
from gateway.kafka.envelope import Message, encode
from gateway.kafka.topics import TopicSpec
from gateway.publisher.mapped import encode_mapped

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence
    from datetime import datetime

    import msgspec


def choose(sources: Sequence[Source], topic: str | None) -> tuple[Source, Source]:
    """Return the sources to which events for users or groups, and broadcasts, are written.

    Without `topic`, the only source of a kind. The topic of the result is empty for a kind with
    none or several, and for users if `topic` is for all. Raises `SettingsError` if `topic` is not
    among the sources.
    """
    named = [source for source in sources if source.topic == topic]
    if topic is not None and not named:
        topics = ", ".join(source.topic for source in sources)
        raise SettingsError(f"{topic} is not a topic of the gateway; its topics are {topics}")
    chosen = []
    for kind in (LogKind.USER, LogKind.BROADCAST):
        broadcasts = kind is LogKind.BROADCAST
        found = [each for each in named if (each.kind is LogKind.BROADCAST) is broadcasts]
        if not found and (broadcasts or not named):
            found = [each for each in sources if each.kind is kind]
        chosen.append(found[0] if len(found) == 1 else Source("", kind))
    return chosen[0], chosen[1]


def spec_of(source: Source) -> TopicSpec:
    """Return the topic of a source, as the producer needs it."""
    return TopicSpec(source.topic, source.partitions)


class Facts(NamedTuple):
    """What a caller may state of an event; see `EventPublisher.publish`."""

    event_id: str | uuid.UUID | None = None
    occurred_at: datetime | None = None
    category: str | None = None


def encoded(
    source: Source,
    name: bytes | None,
    event_type: str,
    data: msgspec.Raw,
    facts: Facts,
) -> Message:
    """Return the record of an event for a user or group, or of a broadcast; see `encode`."""
    if not source.topic:
        raise PublishError(
            "no single topic fits this event: give a topic for its audience (users, a group, all)"
            " with --topic TOPIC, in Python with topic="
        )
    if source.format is not None:
        raise PublishError(
            f"topic {source.topic} has values in {source.format}: write them with the serialiser of"
            " its Schema Registry"
        )
    if source.mapping is None:
        message = encode(name, event_type, data, **facts._asdict())
    else:
        message = encode_mapped(
            source, source.mapping, name, event_type, data, event_id=facts.event_id
        )
    return message if name is None else message._replace(key=source.key.key(name))
