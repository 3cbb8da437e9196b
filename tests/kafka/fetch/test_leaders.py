"""The reader while leaders change, lag, truncate their log or recreate it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.kafka.client.metadata import Leader
from tests.kafka.fetch.simulation import TOPIC, A, World, simulate


def test_a_recreated_topic_is_reported_and_none_of_its_records_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        world.begin(A)
        await asyncio.sleep(1)
        world.cluster.create(TOPIC, [1, 2])
        world.cluster.partitions[A].append(b"new")
        world.learn()
        await asyncio.sleep(5)
        assert world.values(A) == []
        assert A in world.strange
        world.begin(A)
        await asyncio.sleep(1)
        assert world.values(A) == [b"new"]

    simulate(world, play(), monkeypatch)


def test_truncation_is_reported_before_a_record_of_the_new_leader(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        world.begin(A)
        partition = world.cluster.partitions[A]
        partition.append(b"a")
        partition.append(b"gone")
        await asyncio.sleep(1)
        world.elect(A, 2)
        partition.truncate(1)
        partition.append(b"other")
        await asyncio.sleep(5)
        assert world.values(A) == [b"a", b"gone"]
        assert world.losses == [A]
        assert world.unproven_logs == []

    simulate(world, play(), monkeypatch)


def test_a_new_leader_that_cannot_compare_epochs_is_to_be_proven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(newest=11)

    async def play() -> None:
        world.begin(A)
        world.cluster.partitions[A].append(b"a")
        await asyncio.sleep(1)
        world.elect(A, 2)
        await asyncio.sleep(2)
        assert world.unproven_logs == [A]

    simulate(world, play(), monkeypatch)


@pytest.mark.parametrize("truncated", [False, True])
def test_the_epoch_of_the_end_proves_an_idle_log_to_a_new_leader(
    *, truncated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()

    async def play() -> None:
        partition = world.cluster.partitions[A]
        partition.append(b"a")
        partition.append(b"b")
        world.reader.read(A, partition.end, world.cluster.ids[TOPIC], partition.epoch)
        await asyncio.sleep(1)
        if truncated:
            partition.truncate(1)
        world.elect(A, 2)
        partition.append(b"c")
        await asyncio.sleep(3)
        assert world.unproven_logs == []
        assert world.losses == ([A] if truncated else [])
        assert world.values(A) == ([] if truncated else [b"c"])

    simulate(world, play(), monkeypatch)


@pytest.mark.parametrize("newest", [9, 17])
def test_a_broker_that_does_not_know_the_new_leader_epoch_yet_is_asked_again(
    newest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Error 75: this client's metadata is newer than the broker's."""
    world = World(newest=newest)

    async def play() -> None:
        world.begin(A)
        world.cluster.partitions[A].append(b"a")
        await asyncio.sleep(1)
        epoch = world.cluster.partitions[A].epoch
        learn = world.learn
        monkeypatch.setattr(world, "learn", lambda: None)
        world.known[A] = Leader(1, epoch + 1)
        for listener in world.listeners:
            listener()
        world.cluster.partitions[A].append(b"b")
        await asyncio.sleep(3)
        assert world.values(A) == [b"a"], "the broker rejects the epoch"
        assert world.reader.faults() == {A: "unknown leader epoch"}
        asked = len(world.cluster.requests)
        await asyncio.sleep(10)
        assert len(world.cluster.requests) - asked < 30, "it is asked with back-off"
        assert not world.losses
        monkeypatch.setattr(world, "learn", learn)
        world.elect(A, 1)
        world.cluster.partitions[A].append(b"c")
        await asyncio.sleep(3)
        assert world.values(A) == [b"a", b"b", b"c"]
        assert not world.reader.faults()
        assert world.unproven_logs == ([A] if newest < 12 else [])
        assert not world.losses
        assert not world.stalls

    simulate(world, play(), monkeypatch)


def test_a_response_for_a_partition_without_a_leader_has_it_fetched_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        world.begin(A)
        await asyncio.sleep(1)
        await world.connections[0].request_is_out()
        world.cluster.partitions[A].append(b"a")
        world.known[A] = None
        for listener in world.listeners:
            listener()
        await asyncio.sleep(0.15)
        world.elect(A, 2)
        world.learn()
        await asyncio.sleep(1)
        assert world.values(A) == [b"a"]
        world.reader.stop(A)
        await asyncio.sleep(1)
        before = len(world.cluster.requests)
        world.connections[0].close()
        await asyncio.sleep(5)
        assert len(world.cluster.requests) == before, "nothing is left to fetch"

    simulate(world, play(), monkeypatch)


@pytest.mark.parametrize("fault", ["lags", "down", "frozen"])
def test_a_follower_is_read_and_left_for_the_leader_when_it_fails(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    async def play() -> None:
        partition = world.cluster.partitions[A]
        partition.preferred = 3
        world.begin(A)
        partition.append(b"a")
        await asyncio.sleep(1)
        assert world.connections[-1].node == 3
        assert world.values(A) == [b"a"]
        if fault == "lags":
            partition.lag = 1  # the position is beyond the follower's end
        elif fault == "down":
            world.down.add(3)
            world.connections[-1].close()
        else:
            world.frozen.add(3)
        await asyncio.sleep(7)
        partition.append(b"b")
        await asyncio.sleep(7)
        assert world.values(A) == [b"a", b"b"]
        assert world.losses == []

    simulate(world, play(), monkeypatch)
