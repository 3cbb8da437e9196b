"""Predict the result of a resume from an event id.

Applies the table of `gateway.core.replay_plan` to one log, without opening a stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.event_id import CursorEntry, is_current, owner
from gateway.core.records import OffsetPosition, TopicPartition
from gateway.core.replay_plan import SHORT
from gateway.core.source import Topic

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.core.limits import Extent
    from gateway.kafka.client.metadata import Cluster
    from gateway.kafka.probe import Probe


class Facts(NamedTuple):
    """The facts from Kafka about one mark of an id."""

    extent: Extent
    by_time: int
    """The first offset at or after the mark's time, or the log's end."""
    same_record: bool | None
    """Whether the record before the position has the mark's timestamp, if found."""


def topic_of(mark: CursorEntry, settings: Settings, cluster: Cluster) -> Topic | None:
    """Return the configured topic of the mark's log, None without one.

    A topic that does not exist has no partitions.
    """
    topics = [
        Topic(
            source.topic,
            source.kind,
            cluster.tag(source.topic),
            cluster.partitions.get(source.topic, 0),
            mark=source.mark,
        )
        for source in settings.event_sources
    ]
    return owner(mark, topics)


def misfit(mark: CursorEntry, topic: Topic | None) -> str | None:
    """Return why the mark does not match the topics of this cluster, or None if it does."""
    if topic is None:
        return (
            "its topic is not configured: ignored"
            if mark.kind is None
            else "broadcasts are disabled: ignored"
        )
    if not topic.partitions:
        return f"topic {topic.name} does not exist: the stream waits for it"
    if not is_current(mark, topic):
        return f"made for another cluster or topic than {topic.name}: gap reset, from the time on"
    if mark.partition >= topic.partitions:
        return f"{topic.name} has {topic.partitions} partitions: gap reset, from the time on"
    return None


async def look_up(
    mark: CursorEntry, topic: Topic, settings: Settings, probe: Probe, now_ms: int
) -> Facts:
    """Query Kafka about the log of a mark that matches the cluster."""
    log = TopicPartition(topic.name, mark.partition)
    cutoff = now_ms - int(settings.replay_max_age_seconds * 1000)
    extent = await probe.extent(log, cutoff)
    by_time = await probe.at(log, mark.position.timestamp)
    same_record = None
    if (
        isinstance(mark.position, OffsetPosition)
        and mark.position.seen
        and mark.position.offset > extent.start
    ):
        record = await probe.record(log, mark.position.offset - 1)
        same_record = None if record is None else record.timestamp == mark.position.timestamp
    return Facts(extent, extent.end if by_time is None else by_time, same_record)


def foretell(mark: CursorEntry, facts: Facts, max_records: int) -> str:
    """Return a description of a resume in this log.

    A number of records is an upper bound: offsets have gaps, and records of other users count.
    """
    extent, place = facts.extent, mark.position
    gap, start = "", facts.by_time
    if isinstance(place, OffsetPosition):
        start = place.offset
        if start > extent.end or facts.same_record is False:
            gap, start = "gap reset, then ", facts.by_time
        elif start < extent.start:
            gap, start = "gap expired, then ", extent.start
    newest = max(extent.cutoff, extent.end - max_records)
    if newest - start > SHORT:
        gap, start = f"{gap}gap limit, then ", newest
    left = extent.end - start
    if left <= 0:
        return f"{gap}nothing to replay: up to date"
    return f"{gap}replay of at most {left} record{'s' if left > 1 else ''}"
