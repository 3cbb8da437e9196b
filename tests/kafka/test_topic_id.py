from __future__ import annotations

import uuid
from typing import cast

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError

from gateway.core.event_id import incarnation_tag
from gateway.core.records import LogKind, TopicPartition
from gateway.core.source import Topic
from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.client.error_codes import log_name
from gateway.kafka.context import topic_id


def test_a_log_is_named_as_kafkas_own_tools_name_it() -> None:
    assert log_name(TopicPartition("user-events", 3)) == "user-events-3"


class Known:
    """The metadata of a cluster with one topic."""

    cluster_id = "a-cluster"

    def __init__(self, topic_id: bytes | None) -> None:
        self._id = topic_id

    def topic_id(self, name: str) -> bytes | None:
        return self._id if name == "user-events" else None


def topic(topic_id: bytes) -> Topic:
    tag = incarnation_tag("a-cluster", "user-events", topic_id)
    return Topic("user-events", LogKind.USER, tag, 3)


@pytest.mark.parametrize("known", [bytes(range(16)), b""])
def test_topic_id_is_that_of_the_topic_as_the_worker_knows_it(known: bytes) -> None:
    client = cast("ClusterClient", Known(known or None))
    assert topic_id(client, topic(known)) == known


def test_topic_id_of_a_recreated_topic_is_refused() -> None:
    client = cast("ClusterClient", Known(uuid.uuid4().bytes))
    with pytest.raises(UnknownTopicOrPartitionError):
        topic_id(client, topic(uuid.uuid4().bytes))
