from __future__ import annotations

import pytest

from gateway.core.event_id import CursorEntry, parse
from gateway.core.feed import PartitionFeed
from gateway.core.gap import GapReason
from gateway.core.partition_map import PartitionMap
from gateway.core.records import LogKind, Moment, OffsetPosition, TimePosition, TopicPartition
from gateway.core.request import StreamRequest
from gateway.core.source import Topic
from gateway.core.stream import State
from tests.core.network import Connection
from tests.core.stage import BROADCAST_LOG, Stage, stream_of
from tests.core.world import BROADCAST_TOPIC, USER_TOPIC, first_byte

TOPIC = Topic(USER_TOPIC, LogKind.USER, b"tagA", 3)
NOW = Moment(1.0, 1_000_000)
BROADCAST = Topic(BROADCAST_TOPIC, LogKind.BROADCAST, b"tagA", 1)


def test_a_user_follows_the_partition_of_the_key_and_the_broadcasts() -> None:
    routes = PartitionMap(Stage().worker.hub, [TOPIC, BROADCAST], first_byte, 300)
    for user in (b"a", b"b", b"c"):
        logs = [feed.log for feed in routes.feeds(StreamRequest(user), NOW)]
        assert logs == [TopicPartition(USER_TOPIC, user[0] % 3), BROADCAST_LOG]


def test_partition_returns_the_present_partition_of_a_key() -> None:
    routes = PartitionMap(Stage().worker.hub, [TOPIC, BROADCAST], first_byte, 300)
    assert [routes.partition(user) for user in (b"a", b"b", b"c")] == [1, 2, 0]
    routes.update(TOPIC._replace(partitions=5), 0, NOW)
    assert [routes.partition(user) for user in (b"a", b"b", b"c")] == [2, 3, 4]


def test_without_a_broadcast_topic_a_user_follows_one_partition() -> None:
    stage = Stage(partitions=3, broadcast=False)
    assert [feed.log for feed in stage.worker.routes.feeds(StreamRequest(b"a"), NOW)] == [
        TopicPartition(USER_TOPIC, b"a"[0] % 3)
    ]


def test_all_users_of_a_partition_share_one_tuple_of_feeds() -> None:
    routes = PartitionMap(Stage().worker.hub, [TOPIC, BROADCAST], first_byte, 300)
    assert routes.feeds(StreamRequest(b"a1"), NOW) is routes.feeds(StreamRequest(b"a2"), NOW)
    assert routes.feeds(StreamRequest(b"a"), NOW)[1] is routes.feeds(StreamRequest(b"b"), NOW)[1], (
        "one feed of the broadcasts"
    )


def test_a_second_partition_map_returns_the_same_feeds() -> None:
    hub = Stage().worker.hub
    first = PartitionMap(hub, [TOPIC, BROADCAST], first_byte, 300)
    assert PartitionMap(hub, [TOPIC, BROADCAST], first_byte, 300).feeds(
        StreamRequest(b"a"), NOW
    ) == first.feeds(StreamRequest(b"a"), NOW)


def entry(
    partition: int, *, tag: bytes = b"tagA", offset: int = 3, timestamp: int = 900_000
) -> CursorEntry:
    return CursorEntry(LogKind.USER, tag, partition, OffsetPosition(offset, timestamp, True))


def logs(feeds: tuple[PartitionFeed, ...]) -> list[int]:
    """Return the partitions of the user topic among the feeds, in order."""
    return [feed.log.partition for feed in feeds if feed.keyed]


@pytest.mark.parametrize("partitions", [3, 1000])
def test_a_user_is_hashed_once_for_an_opening_with_any_id(partitions: int) -> None:
    hashed: list[bytes] = []

    def count(key: bytes) -> int:
        hashed.append(key)
        return 2_000_000_011

    topic = Topic(USER_TOPIC, LogKind.USER, b"tagA", partitions)
    routes = PartitionMap(Stage().worker.hub, [topic, BROADCAST], count, 300)
    forged = [entry(0), entry(1), CursorEntry(LogKind.BROADCAST, b"tagA", 0, TimePosition(5))]
    routes.find(StreamRequest(b"u" * 512, cursor=forged), NOW)
    assert len(hashed) == 1


def test_every_former_partition_of_a_user_is_followed() -> None:
    hashed = 2_000_000_011
    topic = Topic(USER_TOPIC, LogKind.USER, b"tagA", 50)
    routes = PartitionMap(Stage().worker.hub, [topic, BROADCAST], lambda _: hashed, 300)
    had = {hashed % count for count in range(1, 50)}
    for partition in range(60):
        feeds, mismatch = routes.find(StreamRequest(b"u", cursor=[entry(partition)]), NOW)
        now = hashed % 50
        assert mismatch == (partition not in had | {now})
        assert logs(feeds) == ([now, partition] if partition in had - {now} else [now])


class TestATopicThatGrows:
    """User `a` (97) has partition 1 of 2, 1 of 3, 2 of 5; user `b` has 0, 2 and 3."""

    @pytest.fixture
    def stage(self) -> Stage:
        return Stage(partitions=2, settle=10)

    @pytest.mark.parametrize("stalled", [False, True])
    def test_a_moved_user_follows_both_and_the_new_one_from_before_the_growth(
        self, stage: Stage, *, stalled: bool
    ) -> None:
        client = stage.client(user=b"b")
        connection = stage.connect(client)
        stage.write(3, b"b", log=TopicPartition(USER_TOPIC, 0))
        stage.worker.settle()
        if stalled:
            connection.stall(0)
            stage.write(1, b"b", log=TopicPartition(USER_TOPIC, 0))
            stage.worker.settle()
        client.before_growth()
        stage.world.grow(3)
        client.after_growth()
        numbers = stage.write(2, b"b", log=TopicPartition(USER_TOPIC, 2))
        numbers += stage.write(2, b"b", log=TopicPartition(USER_TOPIC, 0))
        stage.worker.settle()
        connection.drain()
        stage.worker.settle()

        assert logs(stream_of(connection).feeds) == [2, 0]
        assert [m.partition for m in parse(client.last_id) if m.kind is LogKind.USER] == [2, 0]
        assert set(numbers) <= set(client.received)
        stage.judged(client)

    def test_a_user_whose_partition_is_unchanged_follows_one(self, stage: Stage) -> None:
        connection = stage.connect(stage.client(user=b"a"))
        stage.world.grow(3)
        stage.worker.settle()
        assert logs(stream_of(connection).feeds) == [1]

    def test_the_former_partition_is_dropped_once_settled_and_caught_up(self, stage: Stage) -> None:
        client = stage.client(user=b"b")
        connection = stage.connect(client)
        stage.world.grow(3)
        stage.worker.settle()
        stage.world.now += 9_999
        stage.worker.sweep()
        assert logs(stream_of(connection).feeds) == [2, 0]
        connection.stall(0)
        stage.write(1, b"b", log=TopicPartition(USER_TOPIC, 0))
        stage.worker.settle()
        stage.world.now += 1
        stage.worker.sweep()
        assert logs(stream_of(connection).feeds) == [2, 0], "the stream is behind there"

        connection.drain()
        stage.worker.sweep()

        assert logs(stream_of(connection).feeds) == [2]
        assert logs(stage.worker.routes.feeds(StreamRequest(b"b"), stage.world.moment)) == [2]
        stage.worker.sweep()

    def test_new_streams_follow_both_during_the_settling_time(self, stage: Stage) -> None:
        stage.world.grow(3)
        stage.worker.refresh_topics()
        assert logs(stage.worker.routes.feeds(StreamRequest(b"b"), stage.world.moment)) == [2, 0]
        assert logs(stage.worker.routes.feeds(StreamRequest(b"a"), stage.world.moment)) == [1]
        stage.world.now += 10_000
        assert logs(stage.worker.routes.feeds(StreamRequest(b"b"), stage.world.moment)) == [2]

    @pytest.mark.parametrize(
        ("cursor", "partitions"),
        [
            ([entry(0)], [2, 0]),
            ([entry(2), entry(0)], [2, 0]),
            ([entry(0), entry(2)], [2, 0]),
            ([entry(2)], [2]),
            ([entry(1)], [2]),
            ([entry(0, tag=b"tagB")], [2]),
            ([entry(7)], [2]),
            ([CursorEntry(LogKind.BROADCAST, b"tagA", 0, OffsetPosition(3, 5, True))], [2]),
        ],
        ids=str,
    )
    def test_an_id_selects_these_partitions(
        self, stage: Stage, cursor: list[CursorEntry], partitions: list[int]
    ) -> None:
        routes = Stage(partitions=3).worker.routes
        assert logs(routes.feeds(StreamRequest(b"b", cursor=cursor), NOW)) == partitions

    @pytest.mark.parametrize(
        ("cursor", "mismatch"),
        [
            (entry(2), False),
            (entry(0), False),
            (entry(1), True),
            (entry(7), True),
            (entry(2, tag=b"tagB"), True),
            (CursorEntry(LogKind.BROADCAST, b"tagA", 0, TimePosition(5)), False),
            (CursorEntry(LogKind.BROADCAST, b"tagB", 0, TimePosition(5)), True),
        ],
        ids=str,
    )
    def test_an_entry_mismatches_the_known_topics(
        self, cursor: CursorEntry, *, mismatch: bool
    ) -> None:
        assert (
            Stage(partitions=3).worker.routes.find(StreamRequest(b"b", cursor=[cursor]), NOW)[1]
            == mismatch
        )

    def test_broadcast_entry_is_not_a_mismatch_without_a_broadcast_topic(self) -> None:
        routes = Stage(partitions=3, broadcast=False).worker.routes
        assert not routes.find(
            StreamRequest(
                b"b", cursor=[CursorEntry(LogKind.BROADCAST, b"tagB", 0, TimePosition(5))]
            ),
            NOW,
        )[1]

    def test_a_client_that_reconnects_gets_events_of_both_partitions(self, stage: Stage) -> None:
        client = stage.client(user=b"b")
        connection = stage.connect(client)
        connection.drop(1 << 30)
        client.before_growth()
        stage.write(1, b"b", log=TopicPartition(USER_TOPIC, 0))
        stage.world.grow(3)
        client.after_growth()
        stage.write(2, b"b", log=TopicPartition(USER_TOPIC, 2))
        stage.write(1, b"b", log=TopicPartition(USER_TOPIC, 0))
        stage.replace_worker()
        stage.reconnect(client)
        assert sorted(client.received) == [1, 2, 3, 4]
        assert client.gaps == []
        stage.judged(client)

    def test_growing_again_drops_the_oldest_partition(self, stage: Stage) -> None:
        connection = stage.connect(stage.client(user=b"b"))
        for partitions in (3, 5):
            stage.world.grow(partitions)
            stage.worker.settle()
        assert logs(stream_of(connection).feeds) == [3, 2]

    def test_a_worker_with_old_metadata_follows_the_id_and_grows_later(self) -> None:
        stage = Stage(partitions=3)
        hub, routes = stage.worker.hub, stage.worker.routes
        connection = Connection(stage.client(user=b"c"), stage.worker)
        cursor = [entry(0), entry(1)]
        feeds = (
            *(hub.feeds[TopicPartition(USER_TOPIC, n)] for n in (0, 1)),
            hub.feeds[BROADCAST_LOG],
        )
        stream = hub.open(
            StreamRequest(b"c", cursor=cursor), feeds, connection, [], stage.world.moment
        )
        grown = routes.topics[0]._replace(partitions=14)
        routes.update(grown, stage.world.now, stage.world.moment)
        stage.worker.move()
        assert logs(stream.feeds) == [1, 0], "and no position is reset"
        assert stream.position(feeds[1]) == cursor[1].position

    def test_a_key_in_a_former_partition_is_not_reported(self, stage: Stage) -> None:
        stage.connect(stage.client(user=b"b"))
        stage.world.grow(3)
        stage.worker.settle()
        stage.write(1, b"d", log=TopicPartition(USER_TOPIC, 0))
        stage.write(1, b"c", log=TopicPartition(USER_TOPIC, 2))
        stage.worker.settle()
        assert stage.worker.observer.misplacements == [(TopicPartition(USER_TOPIC, 2), 0, 0)]


class TestARecreatedTopic:
    def test_every_open_stream_gets_a_reset_and_continues_by_time(self) -> None:
        stage = Stage()
        client = stage.client()
        connection = stage.connect(client)
        stage.write(3)
        stage.broadcast(2)
        stage.worker.settle()
        stage.world.recreate_topics(b"tagB")
        stage.write(5)
        stage.worker.settle()
        assert [gap.reason for gap in client.gaps] == [GapReason.RESET] * 2
        assert client.received == list(range(1, 11))
        assert {m.tag for m in parse(client.last_id)} == {b"tagB"}
        stage.write(1)
        stage.worker.settle()
        assert client.received[-1] == 11
        assert stream_of(connection).state is State.LIVE

    def test_a_worker_that_read_the_new_topic_unaware_repeats_events_after_the_gap(self) -> None:
        stage = Stage(broadcast=False)
        client = stage.client()
        stage.connect(client)
        stage.write(2)
        stage.worker.settle()
        stage.world.recreate_topics(b"tagB")
        stage.write(4)
        stage.worker.poll()
        assert client.received == [1, 2, 5, 6], "read as the old topic"
        stage.worker.settle()
        assert client.received == [1, 2, 5, 6, 3, 4, 5, 6]
        assert [gap.received for gap in client.gaps] == [4]

    def test_a_client_that_disconnects_before_its_reset_gets_it_on_resume(self) -> None:
        stage = Stage(broadcast=False)
        client = stage.client()
        connection = stage.connect(client)
        stage.write(2)
        stage.worker.settle()
        connection.stall(0)
        stage.world.recreate_topics(b"tagB")
        stage.worker.refresh_topics()
        stage.world.recreate_topics(b"tagC")
        stage.worker.refresh_topics()
        assert parse(stream_of(connection).id().decode())[0].tag == b"tagA"
        stage.reconnect(client)
        assert [gap.reason for gap in client.gaps] == [GapReason.RESET]

    def test_with_fewer_partitions_the_others_are_removed_and_users_move(self) -> None:
        stage = Stage(partitions=3)
        client = stage.client(user=b"b")
        connection = stage.connect(client)
        routes, moment = stage.worker.routes, stage.world.moment
        for feed in list(stage.worker.positions):
            if feed.keyed:
                stage.worker.stop_reading(feed)
        renewed = routes.topics[0]._replace(tag=b"tagB", partitions=2)
        routes.update(renewed, stage.world.now, moment)
        stage.worker.move()
        assert logs(stream_of(connection).feeds) == [0]
        assert TopicPartition(USER_TOPIC, 2) not in stage.worker.hub.feeds
        assert parse(stream_of(connection).id().decode())[0].partition == 2, (
            "until the reset is sent"
        )

    def test_a_recreated_broadcast_topic_does_not_end_the_settling_time(self) -> None:
        stage = Stage(partitions=2, settle=10)
        connection = stage.connect(stage.client(user=b"b"))
        stage.world.grow(3)
        stage.worker.settle()
        stage.worker.stop_reading(stage.worker.hub.feeds[BROADCAST_LOG])
        broadcast = stage.worker.routes.topics[1]
        stage.worker.routes.update(
            broadcast._replace(tag=b"tagB"), stage.world.now, stage.world.moment
        )
        stage.worker.move()
        assert logs(stream_of(connection).feeds) == [2, 0]
        stage.world.now += 10_000
        stage.worker.sweep()
        assert logs(stream_of(connection).feeds) == [2]
