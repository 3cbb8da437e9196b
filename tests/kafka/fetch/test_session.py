"""The session against brokers that follow KIP-227 to the letter, in every version."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.records import TopicPartition
from gateway.kafka.fetch import protocol, session
from gateway.kafka.fetch.protocol import (
    NEWEST,
    OLDEST,
    FetchPosition,
    Limits,
    MalformedResponseError,
    Response,
    decode,
)
from gateway.kafka.fetch.session import FetchSession
from tests.kafka.fetch.cluster import Cluster

A, B, OTHER = TopicPartition("events", 0), TopicPartition("events", 1), TopicPartition("ünlike", 0)
LIMITS = Limits(100)
EVERY_VERSION = range(OLDEST, NEWEST + 1)
WITH_SESSIONS = range(7, NEWEST + 1)


class Client:
    """A session with broker 1 of a cluster, and the positions that it fetches."""

    def __init__(self, newest: int = NEWEST, *, keep: bool = True, sessions: bool = True) -> None:
        self.cluster = Cluster(newest, sessions)
        self.cluster.create("events", [1, 1])
        self.cluster.create("ünlike", [1])
        self.session = FetchSession((OLDEST, newest), keep=keep)
        self.wanted: dict[TopicPartition, FetchPosition] = {}

    def want(self, log: TopicPartition, offset: int, last_epoch: int = -1) -> None:
        epoch = self.cluster.partitions[log].epoch
        topic_id = self.cluster.ids[log.topic]
        self.wanted[log] = FetchPosition(offset, epoch, last_epoch, topic_id)

    def fetch(self) -> Response:
        body = self.session.request(self.wanted, LIMITS, "here")
        answer = self.cluster.answer(1, self.session.version, body)
        return self.session.receive(answer)

    def lines(self) -> list[tuple[int, int]]:
        """Return partition and offset of each line of the last request."""
        topics = self.cluster.requests[-1].topics
        return [
            (part.partition, part.fetch_offset) for topic in topics for part in topic.partitions
        ]

    def epochs(self) -> list[int]:
        return [request.session_epoch for request in self.cluster.requests]


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_every_version_asks_for_all_partitions_and_reads_the_records(version: int) -> None:
    client = Client(version)
    client.cluster.partitions[B].append(b"x", b"y")
    for log in (A, B, OTHER):
        client.want(log, 0)

    response = client.fetch()

    request = client.cluster.requests[-1]
    assert (request.max_wait_ms, request.min_bytes, request.isolation_level) == (100, 1, 1)
    assert request.rack_id == ("here" if version >= protocol.RACKS else "")
    assert sorted(client.lines()) == [(0, 0), (0, 0), (1, 0)]
    found = {answer.log: answer for answer in response.answers}
    assert {log: answer.stable for log, answer in found.items()} == {A: 0, B: 2, OTHER: 0}
    assert found[B].records == client.cluster.partitions[B].entries[0].data
    assert not found[A].records


@pytest.mark.parametrize("version", WITH_SESSIONS)
def test_open_session_sends_only_changed_partitions(version: int) -> None:
    client = Client(version)
    for log in (A, B, OTHER):
        client.want(log, 0)
    client.fetch()
    client.cluster.partitions[A].append(b"x")
    assert [answer.log for answer in client.fetch().answers] == [A]
    assert client.lines() == []

    client.want(A, 1)
    del client.wanted[OTHER]
    assert client.fetch().answers == []
    assert client.lines() == [(0, 1)]
    client.cluster.partitions[OTHER].append(b"x")
    assert client.fetch().answers == []
    assert client.epochs() == [0, 1, 2, 3]


def test_a_broker_without_sessions_gets_full_requests() -> None:
    client = Client(sessions=False)
    client.want(A, 0)
    for _ in range(3):
        client.fetch()
        assert client.lines() == [(0, 0)]
    assert client.epochs() == [0, 0, 0]


def test_a_request_without_a_session_stores_nothing_at_the_broker() -> None:
    client = Client(keep=False)
    client.want(A, 0)
    for _ in range(2):
        client.fetch()
    assert client.epochs() == [-1, -1]
    assert client.cluster.sessions == {}


def test_a_session_that_the_broker_has_evicted_starts_again_with_all_partitions() -> None:
    client = Client()
    client.want(A, 0)
    client.want(B, 0)
    client.fetch()
    client.cluster.forget_sessions()
    assert client.fetch().error == session.SESSION_NOT_FOUND
    client.fetch()
    assert sorted(client.lines()) == [(0, 0), (1, 0)]
    client.fetch()
    assert client.epochs() == [0, 1, 0, 1]


def test_a_request_that_was_lost_makes_the_next_one_full() -> None:
    client = Client()
    client.want(A, 0)
    client.fetch()
    client.session.request(client.wanted, LIMITS)
    client.session.lost()
    assert client.fetch().error == 0
    assert client.epochs()[-1] == 0


def test_a_wrong_epoch_is_an_error_of_the_session_and_not_of_the_client() -> None:
    client = Client()
    client.want(A, 0)
    client.fetch()
    client.session.request(client.wanted, LIMITS)
    (kept,) = client.cluster.sessions[1].values()
    kept.epoch = 9
    assert client.fetch().error == session.INVALID_SESSION_EPOCH
    assert client.fetch().error == 0


def test_a_recreated_topic_is_fetched_under_its_former_id_until_the_caller_changes_it() -> None:
    client = Client()
    client.want(A, 0)
    client.fetch()
    client.cluster.create("events", [1, 1])
    client.cluster.partitions[A].append(b"new")
    (answer,) = client.fetch().answers
    assert (answer.log, answer.error, answer.records) == (A, 100, b"")
    client.want(A, 0)
    (answer,) = client.fetch().answers
    assert answer.records
    assert len(client.cluster.requests[-1].forgotten_topics_data) == 1


def test_a_topic_without_an_id_is_fetched_by_name() -> None:
    client = Client()
    client.want(OTHER, 0)
    client.fetch()
    assert client.session.version == NEWEST
    client.wanted[A] = FetchPosition(0, 1)
    client.session.request(client.wanted, LIMITS)
    assert client.session.version == protocol.FLEXIBLE


def test_a_log_that_was_truncated_is_reported_before_its_records() -> None:
    client = Client()
    log = client.cluster.partitions[A]
    log.append(b"a")
    log.append(b"lost")
    client.want(A, 2, last_epoch=1)
    client.fetch()
    log.truncate(1)
    log.append(b"other")
    client.want(A, 2, last_epoch=1)
    (answer,) = client.fetch().answers
    assert (answer.diverging, answer.records) == ((1, 1), b"")


def test_a_leader_epoch_that_is_not_the_brokers_is_an_error_of_the_partition() -> None:
    client = Client()
    client.want(A, 0)
    client.cluster.partitions[A].epoch = 2
    assert [answer.error for answer in client.fetch().answers] == [74]
    client.cluster.partitions[A].epoch = 0
    assert [answer.error for answer in client.fetch().answers] == [75]


@pytest.mark.parametrize("versions", [(0, 3), (18, 20)])
def test_a_broker_of_another_time_is_refused(versions: tuple[int, int]) -> None:
    with pytest.raises(MalformedResponseError, match="not supported"):
        FetchSession(versions)


@given(st.sampled_from(EVERY_VERSION), st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_malformed_response(version: int, body: bytes) -> None:
    with suppress(MalformedResponseError):
        decode(version, body, {})


@given(st.sampled_from(EVERY_VERSION), st.data())
def test_no_damage_to_a_response_raises_anything_else(version: int, data: st.DataObject) -> None:
    client = Client(version)
    client.cluster.partitions[A].append(b"x")
    client.want(A, 0)
    client.want(OTHER, 7)
    request = client.session.request(client.wanted, LIMITS)
    body = bytearray(client.cluster.answer(1, client.session.version, request))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
    size = data.draw(st.integers(0, len(body)))
    with suppress(MalformedResponseError):
        client.session.receive(bytes(body[:size]))


def test_a_response_of_another_session_is_malformed() -> None:
    client = Client()
    client.want(A, 0)
    client.fetch()
    client.session.request(client.wanted, LIMITS)
    other = struct.pack(">ihiBB", 0, 0, 77, 1, 0)
    with pytest.raises(MalformedResponseError, match="another session"):
        client.session.receive(other)
