"""A missing topic of several: its entries stay in the ids until it appears or is removed."""

from __future__ import annotations

import pytest

from gateway.core import route
from gateway.core.absent_feed import AbsentFeed
from gateway.core.event_id import (
    MAX_ENTRIES_2,
    CursorEntry,
    Version,
    encode,
    encode_entry,
    parse,
    short_tag,
)
from gateway.core.gap import GapReason
from gateway.core.partition_map import PartitionMap
from gateway.core.records import LogKind, Moment, OffsetPosition, TimePosition
from gateway.core.request import StreamRequest
from gateway.core.source import Topic
from tests.core.sourced import client_of, stage_of, write
from tests.core.stage import Stage, stream_of
from tests.core.world import BROADCAST_TOPIC, USER_TOPIC, Extra, first_byte

ORDERS = Topic("orders", LogKind.USER, b"none", 0, mark=b"O\0")
TEAMS = Topic("teams", LogKind.GROUP, b"none", 0, mark=b"T\0")
NEWS = Topic("news", LogKind.BROADCAST, b"none", 0, mark=b"N\0")
USERS = Topic(USER_TOPIC, LogKind.USER, b"tagA", 3, mark=b"U\0")
NOW = Moment(1.0, 1_000_000)


def entries(topic: Topic, *partitions: int, tag: bytes = b"tagO") -> list[CursorEntry]:
    """Return entries of version 2 in an incarnation of a topic."""
    position = OffsetPosition(7, 900_000, seen=True)
    return [
        CursorEntry(None, short_tag(topic.mark, tag), partition, position)
        for partition in partitions
    ]


def routes_of(*topics: Topic) -> PartitionMap:
    return PartitionMap(Stage().worker.hub, topics, first_byte, 300)


def absent(routes: PartitionMap, request: StreamRequest) -> list[AbsentFeed]:
    return [feed for feed in routes.feeds(request, NOW) if isinstance(feed, AbsentFeed)]


class TestStreams:
    def test_other_topics_are_served_and_it_is_followed_once_it_exists(self) -> None:
        stage = stage_of()
        stage.world.hide("orders")
        stage.replace_worker()
        client = client_of(stage, b"a", b"x")
        stage.connect(client)
        before = write(stage, "teams", b"x")
        stage.worker.settle()
        assert client.received == before
        stage.world.appear("orders")
        numbers = write(stage, "orders", b"a", 2)
        stage.worker.settle()
        assert client.received == [*before, *numbers]
        assert client.gaps == []

    def test_another_topic_can_grow_meanwhile(self) -> None:
        stage = stage_of()
        stage.world.hide("orders")
        stage.replace_worker()
        client = client_of(stage, b"b")
        connection = stage.connect(client)
        stage.world.grow(2)
        stage.worker.settle()
        topics = [feed.log.topic for feed in stream_of(connection).feeds]
        assert topics == [USER_TOPIC, BROADCAST_TOPIC]
        numbers = write(stage, USER_TOPIC, b"b")
        stage.worker.settle()
        assert client.received == numbers

    @pytest.mark.parametrize("reconnects", [0, 1, 2])
    @pytest.mark.parametrize("topic", ["orders", "teams", BROADCAST_TOPIC])
    def test_events_written_meanwhile_are_delivered_when_it_appears(
        self, topic: str, reconnects: int
    ) -> None:
        stage = stage_of()
        client = client_of(stage, b"a", b"x", b"y")
        stage.connect(client)
        names = [b"x", b"y"] if topic == "teams" else [b"a"]

        def written() -> list[int | None]:
            if topic == BROADCAST_TOPIC:
                return stage.broadcast()
            return [number for name in names for number in write(stage, topic, name)]

        numbers = written()
        stage.worker.settle()
        stage.world.topics[topic].visible = False
        length = len(client.last_id)
        numbers += written()
        for _ in range(reconnects + 1):
            stage.replace_worker()
            stage.reconnect(client)
            numbers += write(stage, USER_TOPIC, b"a")
            stage.worker.settle()
            assert len(client.last_id) == length <= 128
            assert encode(parse(client.last_id)).decode() == client.last_id
        stage.world.topics[topic].visible = True
        numbers += written()
        stage.worker.settle()
        assert len(client.received) == len(numbers)
        assert set(client.received) == set(numbers)
        assert client.gaps == []
        stage.judged(client)

    def test_a_recreated_topic_leads_to_one_reset(self) -> None:
        stage = stage_of()
        client = client_of(stage)
        stage.connect(client)
        write(stage, "orders", b"a")
        stage.worker.settle()
        stage.world.topics["orders"].visible = False
        stage.replace_worker()
        stage.reconnect(client)
        stage.world.recreate_topic("orders", b"tagN")
        [number] = write(stage, "orders", b"a")
        stage.world.topics["orders"].visible = True
        stage.worker.settle()
        assert client.received[-1] == number
        assert [gap.reason for gap in client.gaps] == [GapReason.RESET]
        stage.reconnect(client)
        assert len(client.gaps) == 1

    def test_since_applies_to_it_when_it_appears(self) -> None:
        stage = stage_of()
        numbers = write(stage, "orders", b"a", 2)
        stage.world.topics["orders"].visible = False
        stage.replace_worker()
        client = client_of(stage)
        client.since = stage.world.now - 5
        numbers += write(stage, "orders", b"a")
        stage.connect(client)
        assert client.received == []
        stage.world.topics["orders"].visible = True
        stage.worker.settle()
        assert client.received == numbers[1:]

    def test_an_entry_of_a_topic_that_is_removed_is_dropped(self) -> None:
        stage = stage_of()
        client = client_of(stage)
        stage.connect(client)
        stage.world.topics["orders"].visible = False
        stage.replace_worker()
        stage.reconnect(client)
        length = len(client.last_id)
        stage.world.topics["orders"].configured = False
        stage.replace_worker()
        stage.reconnect(client)
        assert len(client.last_id) == length - 25

    def test_a_stream_that_was_stuck_keeps_the_entries(self) -> None:
        stage = stage_of()
        client = client_of(stage)
        stage.connect(client)
        stage.world.topics["orders"].visible = False
        [missed] = write(stage, "orders", b"a")
        stage.replace_worker()
        connection = stage.reconnect(client, room=0)
        assert stream_of(connection).stuck_since is not None
        before = stream_of(connection).id()
        connection.drain()
        stage.worker.settle()
        assert stream_of(connection).id() == before
        assert not stream_of(connection).catching_up
        stage.world.topics["orders"].visible = True
        stage.worker.settle()
        assert client.received == [missed]


class TestEntries:
    def test_streams_with_the_same_entries_share_one_tuple(self) -> None:
        routes = routes_of(ORDERS, USERS)
        request = StreamRequest(b"a", cursor=entries(ORDERS, 2))
        assert routes.feeds(request, NOW) is routes.feeds(request._replace(user=b"d"), NOW)
        other = request._replace(cursor=entries(ORDERS, 1))
        assert routes.feeds(request, NOW) != routes.feeds(other, NOW)

    def test_nothing_is_kept_for_a_stream_without_entries(self) -> None:
        routes = routes_of(ORDERS, TEAMS, USERS)
        assert absent(routes, StreamRequest(b"a")) == []
        assert absent(routes, StreamRequest(b"a", cursor=entries(USERS, 1))) == []
        [feed] = absent(routes, StreamRequest(b"a", since=5))  # no groups: nothing of the teams
        assert (feed.topic, feed.entries, feed.since) == (ORDERS, (), 5)
        assert feed.head_entry() == b""

    @pytest.mark.parametrize(
        ("topic", "kept"), [(ORDERS, [0, 1]), (TEAMS, [0, 1, 2, 3]), (NEWS, [0])]
    )
    def test_a_topic_keeps_two_entries_for_each_key(self, topic: Topic, kept: list[int]) -> None:
        request = StreamRequest(
            b"a", cursor=entries(topic, *range(9)), groups={"teams": (b"x", b"y")}
        )
        [feed] = absent(routes_of(topic, USERS), request)
        assert [entry.partition for entry in feed.entries] == kept
        assert feed.entry(TimePosition(0), 5) == b"".join(
            encode_entry(*entry) for entry in entries(topic, *kept)
        )

    def test_an_id_has_room_for_all(self) -> None:
        groups = {"teams": tuple(bytes([number]) for number in range(16))}
        many = TEAMS._replace(name="many", partitions=40, tag=b"tagM", mark=b"M\0")
        cursor = [*entries(TEAMS, *range(32)), *entries(many, *range(32), tag=b"tagM")]
        groups["many"] = tuple(bytes([number]) for number in range(16))
        request = StreamRequest(b"a", cursor=cursor, groups=groups)
        hub = Stage().worker.hub
        routes = PartitionMap(hub, [many._replace(partitions=35), TEAMS], first_byte, 300)
        routes.update(many, 0, NOW)
        feeds = routes.feeds(request, NOW)
        [kept] = absent(routes, request)
        assert len(feeds) - 1 + len(kept.entries) <= MAX_ENTRIES_2

    def test_entries_of_version_1_are_converted(self) -> None:
        position = OffsetPosition(3, 5, seen=True)
        cursor = [CursorEntry(LogKind.USER, b"tagO", number, position) for number in (70_000, 7)]
        [feed] = absent(routes_of(ORDERS, NEWS), StreamRequest(b"a", cursor=cursor))
        assert [entry.partition for entry in feed.entries] == [65_535, 7]
        forged = [entry._replace(partition=70_000 + n) for n, entry in enumerate(cursor)]
        [feed] = absent(routes_of(ORDERS, NEWS), StreamRequest(b"a", cursor=forged))
        assert parse(Version.TWO + feed.head_entry().decode()) == list(feed.entries)

    def test_the_number_of_feeds_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(route, "MOST_ABSENT", 3)
        routes = routes_of(ORDERS, USERS)
        kept = []
        for since in range(9):
            assert len(absent(routes, StreamRequest(b"a", since=since))) == 1
            kept.append(len(routes._routes[0]._absent))  # noqa: SLF001
        assert kept == [1, 2, 3] * 3

    def test_four_topics_and_broadcasts_have_126_characters(self) -> None:
        stage = stage_of(*(Extra(name, LogKind.USER) for name in ("orders", "payments", "mail")))
        client = stage.client()
        stage.connect(client)
        assert len(client.last_id) == 126
        stage.world.topics["mail"].visible = False
        stage.replace_worker()
        stage.reconnect(client)
        assert len(client.last_id) == 126
