"""The reader against simulated brokers, in simulated time.

The model test changes leaders, trims, truncates, recreates topics, forgets sessions, breaks and
stalls connections at random; each record is read once, in order, or its loss is reported.
"""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.records import TopicPartition
from gateway.kafka.fetch import broker
from gateway.kafka.fetch.assignment import FOLLOWER_SECONDS
from gateway.kafka.fetch.broker import CHECK_SECONDS
from gateway.kafka.fetch.protocol import THROTTLE_MOST_MS, Limits
from gateway.kafka.fetch.reader import STALL_SECONDS
from tests.kafka.fetch.simulation import NODES, A, B, World, simulate


def test_records_are_read_in_order_from_all_brokers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        for log in world.logs:
            world.begin(log)
        for number in range(20):
            for log in world.logs:
                world.cluster.partitions[log].append(b"%d" % number)
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)

    simulate(world, play(), monkeypatch)
    for log in world.logs:
        assert world.values(log) == [b"%d" % number for number in range(20)]


def test_a_broker_that_is_frozen_delays_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        for log in world.logs:
            world.begin(log)
        world.frozen.add(1)
        await asyncio.sleep(1)
        world.cluster.partitions[B].append(b"b")
        await asyncio.sleep(0.5)
        assert world.values(B) == [b"b"]

    simulate(world, play(), monkeypatch)


def test_a_partition_that_no_response_covers_is_reported_once_and_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        world.begin(A)
        await asyncio.sleep(1)
        world.frozen.add(1)
        await asyncio.sleep(3 * STALL_SECONDS)
        assert world.stalls == [A]
        assert A in world.reader.faults()
        world.frozen.clear()
        world.cluster.partitions[A].append(b"a")
        await asyncio.sleep(10)
        assert world.values(A) == [b"a"]
        assert not world.reader.faults()

    simulate(world, play(), monkeypatch)


def test_no_lost_wakeup_costs_more_than_a_bounded_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing wakes anything: neither a new partition its broker, nor a change the reader."""
    monkeypatch.setattr(asyncio.Event, "set", lambda _: None)
    world.tells = False

    async def play() -> None:
        await asyncio.sleep(3)
        world.begin(A)
        world.cluster.partitions[A].append(b"a")
        await asyncio.sleep(2 * CHECK_SECONDS)
        assert world.values(A) == [b"a"]
        world.elect(A, 2)
        world.cluster.partitions[A].append(b"b")
        await asyncio.sleep(0.3 + 3 * CHECK_SECONDS)
        assert world.values(A) == [b"a", b"b"]

    simulate(world, play(), monkeypatch)


@pytest.mark.parametrize("throttle_ms", [-1, 3000, THROTTLE_MOST_MS + 1, (1 << 31) - 1])
def test_throttle_time_is_respected_up_to_a_bound(
    throttle_ms: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = max(0, min(throttle_ms, THROTTLE_MOST_MS)) / 1000

    async def play() -> None:
        world.cluster.throttle_ms = throttle_ms
        world.begin(A)
        world.cluster.partitions[A].append(b"a")
        await asyncio.sleep(1)
        assert world.values(A) == [b"a"], "records of a throttled response count"
        asked = len(world.cluster.requests)
        world.cluster.partitions[A].append(b"b")
        await asyncio.sleep(max(0, pause - 2))
        if pause:
            assert len(world.cluster.requests) == asked, "the broker is not asked meanwhile"
        await asyncio.sleep(3)
        assert world.values(A) == [b"a", b"b"]
        assert not world.stalls, "a throttled broker is not stalled"

    simulate(world, play(), monkeypatch)


@pytest.mark.parametrize("newest", [6, 17])
def test_no_backlog_keeps_another_partition_from_being_read(
    monkeypatch: pytest.MonkeyPatch, newest: int
) -> None:
    """A response has room for one partition, and the first one always has more."""
    world = World(newest, partitions=3, nodes=(1,), limits=Limits(100, max_bytes=1))

    async def play() -> None:
        for log in world.logs:
            world.cluster.partitions[log].append(b"first")
        for number in range(200):
            world.cluster.partitions[A].append(b"%d" % number)
        for log in world.logs:
            world.begin(log)
        await asyncio.sleep(1)
        assert all(b"first" in world.values(log) for log in world.logs)

    simulate(world, play(), monkeypatch)


@pytest.mark.parametrize("error", [70, 71, 103])
def test_a_broker_that_rejects_every_session_is_a_stall(
    world: World, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    async def play() -> None:
        world.begin(A)
        await asyncio.sleep(1)
        world.cluster.refuses = error
        await asyncio.sleep(2 * STALL_SECONDS)
        assert world.stalls == [A]
        assert "broker 1" in world.reader.faults()[A]
        world.cluster.refuses = 0
        await asyncio.sleep(3)
        assert not world.reader.faults()

    simulate(world, play(), monkeypatch)


def test_a_partition_read_again_before_the_broker_forgot_it_is_known_to_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a change to report, the response of the broker omits the partition."""

    async def play() -> None:
        world.begin(A)
        await asyncio.sleep(1)
        world.reader.stop(A)
        world.begin(A)
        await asyncio.sleep(3)
        assert not world.reader.faults()
        assert world.reader.end(A) == 0

    simulate(world, play(), monkeypatch)


def test_a_batch_that_is_never_whole_is_reported(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        world.begin(A)
        world.cluster.partitions[A].append(b"a")
        [entry] = world.cluster.partitions[A].entries
        whole, entry.data = entry.data, entry.data[:-1]
        await asyncio.sleep(3)
        assert "incomplete" in world.reader.faults()[A]
        entry.data = whole
        await asyncio.sleep(3)
        assert world.values(A) == [b"a"]
        assert not world.reader.faults()

    simulate(world, play(), monkeypatch)


def test_a_reader_that_has_ended_is_called_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(world, asyncio.sleep(1), monkeypatch)
    assert world.listeners == []


@pytest.mark.parametrize("newest", [6, 11, 12, 17])
@pytest.mark.parametrize("seed", range(10))
def test_each_record_is_read_once_and_in_order_or_reported(
    monkeypatch: pytest.MonkeyPatch, newest: int, seed: int
) -> None:
    world = World(newest, partitions=3, seed=seed)
    chance = world.chance
    written: dict[TopicPartition, list[bytes]] = {log: [] for log in world.logs}
    trimmed: set[TopicPartition] = set()

    def change() -> None:
        log = chance.choice(world.logs)
        partition = world.cluster.partitions[log]
        match chance.randrange(8):
            case 0:
                world.elect(log, chance.choice(NODES))
            case 1:
                world.cluster.forget_sessions()
            case 2:
                world.down ^= {chance.choice(NODES)}
            case 3:
                world.frozen ^= {chance.choice(NODES)}
            case 4 if world.connections:
                chance.choice(world.connections).close()
            case 5:
                partition.preferred = chance.choice([-1, *NODES])
                partition.lag = chance.randrange(3)
            case 6 if chance.random() < 0.3:
                trimmed.add(log)
                partition.trim(partition.end)
            case 7:
                world.learn()

    async def play() -> None:
        for log in world.logs:
            world.begin(log)
        for number in range(60):
            for log in world.logs:
                if chance.random() < 0.6:
                    values = [b"%d-%d" % (number, n) for n in range(chance.randrange(1, 4))]
                    world.cluster.partitions[log].append(*values)
                    written[log] += values
            change()
            await asyncio.sleep(chance.choice([0.001, 0.02, 0.3, 2.0]))
        world.down.clear()
        world.frozen.clear()
        for partition in world.cluster.partitions.values():
            partition.preferred, partition.lag = -1, 0
        await asyncio.sleep(60)
        for log in world.logs:
            partition = world.cluster.partitions[log]
            partition.append(b"last")
            written[log].append(b"last")
        await asyncio.sleep(10)

    simulate(world, play(), monkeypatch)
    for log in world.logs:
        values = iter(written[log])
        assert all(value in values for value in world.values(log)), "in order, each once"
        assert world.values(log)[-1] == b"last"
        if world.values(log) != written[log]:
            assert log in trimmed, "only what was deleted is missing"
            assert log in world.losses, "and that is reported"


def test_constants_are_in_order() -> None:
    """A request gives up before the watchdog does, and a wait before a request."""
    assert CHECK_SECONDS < broker.REQUEST_SECONDS < STALL_SECONDS < FOLLOWER_SECONDS
