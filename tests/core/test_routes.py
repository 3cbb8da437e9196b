from __future__ import annotations

from gateway.core.log import Log, LogKind, Topic
from gateway.core.routes import Routes
from tests.core.stage import BROADCAST_LOG, Stage
from tests.core.world import BROADCAST_TOPIC, USER_TOPIC, by_first_byte

TOPIC = Topic(USER_TOPIC, LogKind.USER, b"tagA", 3)
BROADCAST = Topic(BROADCAST_TOPIC, LogKind.BROADCAST, b"tagA", 1)


def test_a_user_follows_the_partition_of_its_key_and_the_broadcasts() -> None:
    routes = Routes(Stage().worker.hub, TOPIC, BROADCAST, by_first_byte)
    for user in (b"a", b"b", b"c"):
        logs = [feed.log for feed in routes.feeds(user)]
        assert logs == [Log(USER_TOPIC, user[0] % 3), BROADCAST_LOG]


def test_without_a_broadcast_topic_there_is_one_log() -> None:
    stage = Stage(partitions=3, broadcast=False)
    assert [feed.log for feed in stage.worker.routes.feeds(b"a")] == [Log(USER_TOPIC, b"a"[0] % 3)]


def test_all_users_of_a_partition_share_one_tuple_of_feeds() -> None:
    routes = Routes(Stage().worker.hub, TOPIC, BROADCAST, by_first_byte)
    assert routes.feeds(b"a1") is routes.feeds(b"a2")
    assert routes.feeds(b"a")[1] is routes.feeds(b"b")[1], "and one feed of the broadcasts"


def test_routes_made_again_lead_to_the_same_feeds() -> None:
    hub = Stage().worker.hub
    first = Routes(hub, TOPIC, BROADCAST, by_first_byte)
    assert Routes(hub, TOPIC, BROADCAST, by_first_byte).feeds(b"a") == first.feeds(b"a")
