from __future__ import annotations

import pytest

from gateway.commands.resume import Facts, foretell, misfit, topic_of
from gateway.config import Settings
from gateway.core.event_id import CursorEntry, incarnation_tag, short_tag
from gateway.core.limits import Extent
from gateway.core.records import LogKind, OffsetPosition, Position, TimePosition
from gateway.core.source import name_mark
from gateway.kafka.client.metadata import Cluster

EXTENT = Extent(100, 10_000, 100, 1)
RECORDS = 50_000


def user_mark(place: Position, tag: bytes = b"\0\0\0\0", partition: int = 3) -> CursorEntry:
    return CursorEntry(LogKind.USER, tag, partition, place)


@pytest.mark.parametrize(
    ("place", "facts", "verdict"),
    [
        (OffsetPosition(9000, 1, True), Facts(EXTENT, 0, True), "replay of at most 1000 records"),
        (OffsetPosition(9000, 1, True), Facts(EXTENT, 0, None), "replay of at most 1000 records"),
        (OffsetPosition(10_000, 1, True), Facts(EXTENT, 0, True), "nothing to replay: up to date"),
        (OffsetPosition(50, 1, True), Facts(EXTENT, 0, None),
         "gap expired, then replay of at most 9900 records"),
        (OffsetPosition(10_001, 1, True), Facts(EXTENT, 9500, None),
         "gap reset, then replay of at most 500 records"),
        (OffsetPosition(9000, 1, True), Facts(EXTENT, 10_000, False),
         "gap reset, then nothing to replay: up to date"),
        (TimePosition(1), Facts(EXTENT, 9990, None), "replay of at most 10 records"),
        (OffsetPosition(5000, 1, True), Facts(Extent(0, 10_000, 9000, 2), 0, True),
         "gap limit, then replay of at most 1000 records"),
        (OffsetPosition(8500, 1, True), Facts(Extent(0, 10_000, 9000, 2), 0, True),
         "replay of at most 1500 records"),
        (OffsetPosition(50, 1, True), Facts(Extent(100, 100_000, 100, 1), 0, None),
         "gap expired, then gap limit, then replay of at most 50000 records"),
    ],
)  # fmt: skip
def test_what_a_resume_would_do(place: Position, facts: Facts, verdict: str) -> None:
    assert foretell(user_mark(place), facts, RECORDS) == verdict


TAG = incarnation_tag("cluster", "user-events")


def short_mark(topic: str) -> CursorEntry:
    return CursorEntry(None, short_tag(name_mark(topic), TAG), 3, TimePosition(1))


@pytest.mark.parametrize(
    ("mark", "partitions", "text"),
    [
        (user_mark(TimePosition(1), TAG), {"user-events": 4}, None),
        (user_mark(TimePosition(1)), {"user-events": 4}, "made for another cluster or topic"),
        (user_mark(TimePosition(1), TAG), {}, "topic user-events does not exist"),
        (user_mark(TimePosition(1), TAG), {"user-events": 3}, "user-events has 3 partitions"),
        (CursorEntry(LogKind.BROADCAST, TAG, 0, TimePosition(1)), {}, "disabled"),
        (short_mark("user-events"), {"user-events": 4}, None),
        (short_mark("user-events"), {}, "topic user-events does not exist"),
        (short_mark("orders"), {"user-events": 4}, "not configured: ignored"),
    ],
)
def test_a_mark_that_does_not_fit_the_cluster(
    mark: CursorEntry, partitions: dict[str, int], text: str | None
) -> None:
    settings, cluster = Settings(broadcast_topic=""), Cluster("cluster", partitions, {})
    found = misfit(mark, topic_of(mark, settings, cluster))
    assert (found is None) == (text is None)
    assert (text or "") in (found or "")
