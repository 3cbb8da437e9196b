"""Sample events for the sources of a file: `gateway demo --sources FILE`.

Each placeholder of a type is replaced by a few words, so `order.{header:kind}` yields
`order.created`, `order.updated` and `order.closed`. Users are members of two teams, whose names
stand for groups.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple, Self

from gateway.core.mapping import Origin
from gateway.core.records import LogKind
from gateway.core.registry import Registry
from gateway.demo.activity import Step
from gateway.errors import SettingsError
from gateway.publisher import EventPublisher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from random import Random

    from gateway.config import Settings
    from gateway.core.source import Source

WORDS = ("created", "updated", "closed")

TEAMS = ("red", "blue")

_PAUSE = (0.2, 0.8)
"""Seconds between two events."""


class Sample(NamedTuple):
    """A type of event that the demo writes to a source."""

    source: Source
    type: str
    category: str | None
    fields: Mapping[str, str]
    """Fields of the payload from which the worker takes the type."""


def team_of(users: Sequence[str], user: str) -> str:
    """Return the team of a user."""
    return TEAMS[users.index(user) % len(TEAMS)]


def samples(sources: Sequence[Source], registry: Registry) -> list[Sample]:
    """Return the types of all sources; a type of two sources belongs to the first.

    Raises `SettingsError` for a source whose values need a Schema Registry.
    """
    found: dict[str, Sample] = {}
    for source in sources:
        if source.format is not None:
            raise SettingsError(
                f"the demo lacks a Schema Registry for topic {source.topic}: remove its format"
            )
        for word in WORDS:
            sample = _sample(source, word, registry)
            found.setdefault(sample.type, sample)
    return list(found.values())


def _sample(source: Source, word: str, registry: Registry) -> Sample:
    mapping = source.mapping
    if mapping is None:
        event_type = f"{source.topic}.{word}"
        return Sample(source, event_type, registry.category_of(event_type), {})
    parts = mapping.type.parts
    event_type = "".join(part if isinstance(part, str) else word for part in parts)
    fields = {
        part.name: word
        for part in parts
        if not isinstance(part, str) and part.origin is Origin.FIELD and mapping.data is None
    }
    category = registry.category_of(event_type)
    if mapping.category is not None and mapping.category.fixed:
        category = mapping.category.text
    return Sample(source, event_type, category, fields)


def registry_of(found: Sequence[Sample]) -> Registry:
    """Return a registry with the types of the samples."""
    types: dict[str, list[str]] = {}
    for sample in found:
        if sample.category is not None:
            types.setdefault(sample.category, []).append(sample.type)
    return Registry(types)


def activity(found: Sequence[Sample], users: Sequence[str], rng: Random) -> Iterator[Step]:
    """Yield sample events endlessly: each source in turn, for a random user or team."""
    number = 0
    while True:
        for source in dict.fromkeys(sample.source for sample in found):
            number += 1
            sample = rng.choice([each for each in found if each.source == source])
            names = {LogKind.USER: users, LogKind.GROUP: TEAMS, LogKind.BROADCAST: [None]}
            name = rng.choice(names[source.kind])
            yield Step(rng.uniform(*_PAUSE), name, sample.type, {"sample": number})


class SourcesPublisher:
    """Writes events of the samples, each to the source of its type; use it in `async with`."""

    def __init__(self, settings: Settings, found: Sequence[Sample], users: Sequence[str]) -> None:
        self._samples = {sample.type: sample for sample in found}
        self._users = users
        topics = dict.fromkeys(sample.source.topic for sample in found)
        self._publishers = {
            topic: EventPublisher.from_settings(settings, topic=topic) for topic in topics
        }
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for publisher in self._publishers.values():
            await self._stack.enter_async_context(publisher)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def publish(self, user_id: str, event_type: str, data: object) -> object:
        """Write an event for a user or team; a user stands for the team, or for all streams."""
        sample = self._samples[event_type]
        publisher = self._publishers[sample.source.topic]
        if sample.source.kind is LogKind.BROADCAST:
            return await self.broadcast(event_type, data)
        if sample.source.kind is LogKind.GROUP and user_id in self._users:
            user_id = team_of(self._users, user_id)
        return await publisher.publish(user_id, event_type, self._data(sample, data))

    async def broadcast(self, event_type: str, data: object) -> object:
        """Write an event for all streams."""
        sample = self._samples[event_type]
        publisher = self._publishers[sample.source.topic]
        return await publisher.broadcast(event_type, self._data(sample, data))

    def _data(self, sample: Sample, data: object) -> object:
        return {**data, **sample.fields} if isinstance(data, dict) else data
