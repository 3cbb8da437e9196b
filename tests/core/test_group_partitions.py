"""The partitions that streams of groups follow."""

from __future__ import annotations

import pytest

from gateway.core import partition_map
from gateway.core.event_id import (
    MAX_ENTRIES_2,
    CursorEntry,
    short_tag,
)
from gateway.core.partition_map import PartitionMap
from gateway.core.records import (
    LogKind,
    Moment,
    TimePosition,
)
from gateway.core.request import StreamRequest
from gateway.core.source import KeyTemplate, Topic
from tests.core.network import Connection
from tests.core.sourced import TEAMS, client_of, stage_of
from tests.core.stage import Stage, stream_of
from tests.core.world import USER_TOPIC, first_byte

NOW = Moment(1.0, 1_000_000)


class TestPartitionMap:
    TEAMS = Topic("teams", LogKind.GROUP, b"tagT", 3, mark=b"T\0")
    USERS = Topic(USER_TOPIC, LogKind.USER, b"tagA", 3, mark=b"U\0")
    KEYED = Topic("orders", LogKind.USER, b"tagO", 3, mark=b"O\0", key=KeyTemplate(b"", b"!"))

    def routes(self, *topics: Topic, settle: float = 300) -> PartitionMap:
        return PartitionMap(Stage().worker.hub, topics, first_byte, settle)

    def test_feeds_are_in_the_order_of_the_sources(self) -> None:
        routes = self.routes(self.TEAMS, self.KEYED, self.USERS)
        request = StreamRequest(b"a", groups={"teams": (b"z", b"y", b"w", b"v")})
        logs = [tuple(feed.log) for feed in routes.feeds(request, NOW)]
        assert logs == [
            ("teams", 1),
            ("teams", 2),
            ("orders", 1),
            (USER_TOPIC, 1),
        ]

    def test_the_first_user_topic_selects_the_shard(self) -> None:
        assert self.routes(self.TEAMS, self.USERS).partition(b"b") == 2
        assert self.routes(self.TEAMS).partition(b"b") is None
        missing = self.USERS._replace(partitions=0)
        assert self.routes(missing).partition(b"b") is None
        assert self.routes(missing, self.KEYED).partition(b"b") == 2

    def test_a_stream_without_a_topic_has_no_feeds(self) -> None:
        stage = stage_of(TEAMS)
        routes = PartitionMap(stage.worker.hub, [self.TEAMS], first_byte, 300)
        feeds = routes.feeds(StreamRequest(b"a"), NOW)
        assert feeds == ()
        connection = Connection(client_of(stage), stage.worker)
        stream = stage.worker.hub.open(StreamRequest(b"a"), feeds, connection, [], NOW)
        assert stream.id() == b"2"

    def test_an_entry_that_no_group_explains_is_a_mismatch(self) -> None:
        routes = self.routes(self.TEAMS._replace(partitions=50))
        request = StreamRequest(b"a", groups={"teams": (b"x",)})

        def find(partition: int) -> tuple[list[int], bool]:
            entry = CursorEntry(None, short_tag(b"T\0", b"tagT"), partition, TimePosition(5))
            feeds, mismatch = routes.find(request._replace(cursor=[entry]), NOW)
            return [feed.log.partition for feed in feeds], mismatch

        now = b"x"[0] % 50
        assert find(now) == ([now], False)
        former = b"x"[0] % 49
        assert find(former) == ([now, former], False)
        assert find(49) == ([now], True)

    def test_a_new_group_follows_its_former_partition_while_the_topic_settles(self) -> None:
        routes = self.routes(self.TEAMS._replace(partitions=2))
        routes.update(self.TEAMS, 0, NOW)
        entry = CursorEntry(None, short_tag(b"T\0", b"tagT"), b"x"[0] % 3, TimePosition(5))
        known = StreamRequest(b"a", cursor=[entry], groups={"teams": (b"x",)})
        assert [f.log.partition for f in routes.feeds(known, NOW)] == [0]
        new = known._replace(groups={"teams": (b"x", b"z")})
        assert [f.log.partition for f in routes.feeds(new, NOW)] == [0, 2]
        fresh = StreamRequest(b"a", groups={"teams": (b"y", b"x")})
        assert [f.log.partition for f in routes.feeds(fresh, NOW)] == [0, 1]

    def test_former_partitions_that_an_id_has_no_room_for_are_dropped(self) -> None:
        topics = [self.TEAMS._replace(name=f"t{n}", partitions=40) for n in range(3)]
        routes = self.routes(*topics)
        for topic in topics:
            routes.update(topic._replace(partitions=100), 0, NOW)
        keys = tuple(bytes([number]) for number in range(100, 116))
        groups = {topic.name: keys for topic in topics}
        feeds = routes.feeds(StreamRequest(b"a", groups=groups), NOW)
        assert len(feeds) == MAX_ENTRIES_2
        current = {(topic.name, key[0] % 100) for topic in topics for key in keys}
        assert current <= {tuple(feed.log) for feed in feeds}

    def test_the_number_of_shared_tuples_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(partition_map, "MOST_SHARED", 3)
        routes = self.routes(self.USERS._replace(partitions=20))
        for number in range(20):
            routes.feeds(StreamRequest(bytes([number])), NOW)
            assert len(routes._shared) <= 3  # noqa: SLF001

    def test_closed_streams_are_not_moved(self) -> None:
        stage = stage_of()
        connection = stage.connect(client_of(stage))
        routes = stage.worker.routes
        routes.update(routes.topics[0]._replace(partitions=5), stage.world.now, stage.world.moment)
        stage.worker.hub.lost(stream_of(connection), stage.world.moment)
        assert not routes.step(stage.world.moment)
