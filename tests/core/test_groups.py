"""Streams that read several topics, and the keys of their user's groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from gateway.core import delivery
from gateway.core.delivery import pieces
from gateway.core.event_id import (
    CursorEntry,
    Version,
    encode,
    encode_entry,
    parse,
    short_tag,
)
from gateway.core.feed import PartitionFeed
from gateway.core.gap import GapReason
from gateway.core.records import (
    LogKind,
    Moment,
    OffsetPosition,
    TimePosition,
    TopicPartition,
    make_record,
)
from gateway.core.request import StreamRequest
from gateway.core.source import Topic
from gateway.core.start_states import start_states
from gateway.core.stream import Stream
from gateway.core.tail import Tail
from tests.core.sourced import TEAMS, client_of, stage_of, write
from tests.core.stage import stream_of
from tests.core.world import BROADCAST_TOPIC, DATA, USER_TOPIC, Extra

NOW = Moment(1.0, 1_000_000)


class TestDelivery:
    def test_events_of_every_topic_and_group_arrive_once(self) -> None:
        stage = stage_of()
        member = client_of(stage, b"a", b"x", b"y")
        other = client_of(stage, b"b", b"y")
        stage.connect(member)
        stage.connect(other)
        user = write(stage, USER_TOPIC, b"a", 2)
        order = write(stage, "orders", b"a")
        x = write(stage, "teams", b"x", 2)
        y = write(stage, "teams", b"y")
        write(stage, "teams", b"z")
        news = stage.broadcast()
        stage.worker.settle()
        assert set(member.received) == {*user, *order, *x, *y, *news}
        assert len(member.received) == 7
        assert set(other.received) == {*y, *news}
        assert member.last_id[0] == Version.TWO
        for client in (member, other):
            stage.judged(client)

    def test_groups_of_one_partition_keep_the_order_of_offsets(self) -> None:
        stage = stage_of(Extra("teams", LogKind.GROUP, 1))
        member = client_of(stage, b"a", b"x", b"y")
        stage.connect(member)
        numbers = [write(stage, "teams", name)[0] for name in (b"x", b"y", b"y", b"x", b"z")]
        stage.worker.settle()
        assert member.received == numbers[:4]

    @pytest.mark.parametrize("memory", [700, 1 << 30])
    def test_groups_of_one_partition_are_resumed_in_order(self, memory: int) -> None:
        stage = stage_of(Extra("teams", LogKind.GROUP, 1), tail_bytes=memory, warm_ms=0)
        member = client_of(stage, b"a", b"x", b"y")
        connection = stage.connect(member)
        connection.drop(1 << 30)
        connection.lost()
        numbers = []
        for name in (b"x", b"y", b"y", b"x", b"z") * 4:
            numbers += write(stage, "teams", name)
            stage.worker.poll()
        stage.connect(member)
        assert member.received == [n for n in numbers if (n or 0) % 5]
        stage.judged(member)

    def test_members_that_are_behind_elsewhere_catch_up_separately(self) -> None:
        stage = stage_of()
        member = client_of(stage, b"a", b"x")
        member_of_both = client_of(stage, b"b", b"x", b"w")
        connection = stage.connect(member)
        stage.connect(member_of_both)
        stage.worker.stop_reading(stage.feed)
        write(stage, "teams", b"x", 2)
        stage.worker.poll()
        while stage.worker.work():
            pass
        assert len(member.received) == 2, "the user's partition is not read"
        assert stream_of(connection).catching_up
        stage.worker.settle()
        assert len(member_of_both.received) == 2
        for client in (member, member_of_both):
            stage.judged(client)

    def test_an_event_is_framed_once_for_all_members_with_one_cursor(self) -> None:
        stage = stage_of()
        for _ in range(5):
            stage.connect(client_of(stage, b"a", b"x"))
        feed = next(f for f in stage.worker.hub.feeds.values() if f.live_by_group)
        records = [
            make_record(n, 0, b"x@2", b"1", (("event_type", DATA.encode()),)) for n in (1, 2)
        ]
        assert stage.worker.hub._outbox.add(feed, records) == 2  # noqa: SLF001
        first, *others = feed.live()
        assert len(others) == 4
        stage.worker.hub.lost(first, stage.world.moment)
        assert feed.live() == others

    def test_pieces_of_a_group_partition_are_bounded_by_streams_and_bytes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery, "MOST_SHARES", 4)
        topic = Topic("teams", LogKind.GROUP, b"tagA", 1)
        log = TopicPartition("teams", 0)
        feed = PartitionFeed(log, topic)
        feed.live_by_group = {
            key: {self.stream(number): None for number in range(size)}
            for key, size in ((b"x", 3), (b"y", 2))
        }
        keys = [b"x", b"x", b"z", b"x", b"y", b"x", b"y", b"y"]
        records = [make_record(n, 0, key, b"") for n, key in enumerate(keys)]
        found = [[r.offset for r in piece[log]] for piece in pieces({log: records}, {log: feed})]
        assert found == [[0, 1, 2, 3, 4], [5, 6], [7]]
        large = [make_record(n, 0, b"z", b"x" * 40_000) for n in range(3)]
        found = [[r.offset for r in piece[log]] for piece in pieces({log: large}, {log: feed})]
        assert found == [[0, 1], [2]]

    @staticmethod
    def stream(number: int) -> Stream:
        sink: Any = None
        stream = Stream(StreamRequest(b"%d" % number), (), sink, 0.0)
        stream.number = number
        return stream


class TestResuming:
    def test_a_lost_group_ends_and_a_new_one_begins(self) -> None:
        stage = stage_of()
        member = client_of(stage, b"a", b"x", b"y")
        stage.connect(member)
        stage.write(1, b"a")
        stage.worker.settle()
        connection = member.connection
        assert connection is not None
        connection.drop(1 << 30)
        connection.lost()
        member.regroup("teams", [b"y", b"z"])
        write(stage, "teams", b"x", 2)
        kept = write(stage, "teams", b"y", 2)
        stage.connect(member)
        new = write(stage, "teams", b"z")
        stage.worker.settle()
        assert set(member.received) >= {*kept, *new}
        assert member.gaps == []
        stage.judged(member)

    def test_every_group_of_a_recreated_topic_gets_its_own_reset(self) -> None:
        stage = stage_of(TEAMS)
        member = client_of(stage, b"a", b"x", b"y")
        connection = stage.connect(member)
        write(stage, "teams", b"x")
        write(stage, "teams", b"y")
        stage.worker.settle()
        stage.world.recreate_topic("teams", b"tagB")
        stage.worker.refresh_topics()
        entries = parse(stream_of(connection).id().decode())
        assert len({(entry.mark, entry.partition) for entry in entries}) == len(entries)
        write(stage, "teams", b"x")
        stage.worker.settle()
        assert [gap.reason for gap in member.gaps] == [GapReason.RESET] * 2
        assert len(member.received) == 3

    def test_groups_that_spread_over_more_partitions_of_a_recreated_topic(self) -> None:
        stage = stage_of(Extra("teams", LogKind.GROUP, 1))
        member = client_of(stage, b"a", b"x", b"y")
        connection = stage.connect(member)
        routes, hub = stage.worker.routes, stage.worker.hub
        topic = next(topic for topic in routes.topics if topic.name == "teams")
        stage.worker.stop_reading(hub.feeds[TopicPartition("teams", 0)])
        routes.update(
            topic._replace(tag=b"tagB", partitions=2), stage.world.now, stage.world.moment
        )
        assert routes.moving
        stage.worker.move()
        entries = [e for e in parse(stream_of(connection).id().decode()) if e.mark == topic.mark]
        assert [entry.partition for entry in entries] == [0, 1]
        assert {entry.tag for entry in entries} == {short_tag(topic.mark, topic.tag)}

    @pytest.mark.parametrize(
        ("entries", "position", "reset"),
        [
            ([], OffsetPosition(90, 5, True), False),
            ([(1, b"tagA", 40)], OffsetPosition(7, 40, True), False),
            ([(0, b"tagA", 40)], TimePosition(40), False),
            ([(5, b"tagA", 40)], OffsetPosition(90, 5, True), False),
            ([(5, b"oldB", 40)], TimePosition(40), True),
            ([(1, b"oldB", 40)], TimePosition(40), True),
            ([(0, b"oldB", 40), (5, b"tagA", 90)], TimePosition(40), True),
        ],
        ids=str,
    )
    def test_a_group_begins_at_this_position(
        self, entries: Sequence[tuple[int, bytes, int]], position: object, *, reset: bool
    ) -> None:
        topic = Topic("teams", LogKind.GROUP, b"tagA", 6, mark=b"T\0")
        feeds = []
        for partition in (0, 1):
            feed = PartitionFeed(TopicPartition("teams", partition), topic, Version.TWO)
            feed.tail = Tail(OffsetPosition(90, 5, True), keyed=True)
            feeds.append(feed)
        cursor = [
            CursorEntry(None, short_tag(b"T\0", tag), partition, OffsetPosition(7, at, True))
            for partition, tag, at in entries
        ]
        state = start_states(StreamRequest(b"a", cursor=cursor), feeds, NOW)[1]
        if position == TimePosition(40) and not reset:
            position = TimePosition(0)  # a minute earlier, but not before 1970
        assert state.position == position
        own = cursor and cursor[0]._replace(partition=1)
        assert state.reset_entry == (encode_entry(*own) if reset and own else None)


class TestVersions:
    def test_an_id_of_version_1_is_resumed_in_several_topics(self) -> None:
        stage = stage_of()
        for extra in stage.world.setup.extras:
            stage.world.topics[extra.name].configured = False
        stage.replace_worker()
        client = client_of(stage, b"a", b"x")
        stage.connect(client)
        assert client.last_id[0] == Version.ONE
        stage.write(2)
        for extra in stage.world.setup.extras:
            stage.world.topics[extra.name].configured = True
        stage.replace_worker()
        stage.reconnect(client)
        order = write(stage, "orders", b"a")
        stage.worker.settle()
        assert client.received == [1, 2, *order]
        assert client.last_id[0] == Version.TWO
        assert client.gaps == []

    def test_an_entry_of_version_1_without_its_topic_leads_to_a_reset(self) -> None:
        stage = stage_of()
        client = client_of(stage)
        position = OffsetPosition(3, stage.world.now, True)
        client.last_id = encode([CursorEntry(LogKind.USER, b"evil", 70_000, position)]).decode()
        client.rogue = True
        connection = stage.connect(client, kafka=False)
        assert [gap.reason for gap in client.gaps] == [GapReason.RESET]
        assert stream_of(connection).feeds[0].log.topic == USER_TOPIC
        assert BROADCAST_TOPIC in {feed.log.topic for feed in stream_of(connection).feeds}
