"""The reader against simulated brokers, in simulated time.

The model test changes leaders, trims, truncates, recreates topics, forgets sessions, breaks and
stalls connections at random; each record is read once, in order, or its loss is reported.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaConnectionError

from gateway import clock
from gateway.core.records import Moment, Record, TopicPartition, UnreadableReason
from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.client.connection import Answered
from gateway.kafka.client.metadata import Leader
from gateway.kafka.fetch import broker
from gateway.kafka.fetch.answers import FOLLOWER_SECONDS
from gateway.kafka.fetch.broker import CHECK_SECONDS
from gateway.kafka.fetch.protocol import THROTTLE_MOST_MS, Limits
from gateway.kafka.fetch.reader import STALL_SECONDS, FetchReader
from gateway.supervise import Part
from tests.kafka.fetch.cluster import Cluster

NODES = (1, 2, 3)
TOPIC = "events"


class SimulatedTime(selectors.DefaultSelector):
    """A selector that does not wait: it advances the loop's clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0)


class FakeConnection:
    """A connection to a simulated broker, which holds a fetch that finds nothing."""

    def __init__(self, world: World, node: int) -> None:
        self.world, self.node, self.closed = world, node, False
        self.versions = {1: (4, world.cluster.newest)}
        self.waiting: Answered | None = None

    def close(self) -> None:
        self.closed = True
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(KafkaConnectionError("closed"))

    async def request_is_out(self) -> None:
        for _ in range(1000):
            if self.waiting is not None and not self.waiting.done():
                return
            await asyncio.sleep(0.0005)
        raise AssertionError("nothing is asked")

    def request_for(
        self, answered: Answered, key: int, version: int, body: bytes, timeout: float
    ) -> None:
        loop = asyncio.get_running_loop()
        self.waiting = answered
        if self.closed:
            raise KafkaConnectionError("closed")

        def answer() -> None:
            if not answered.done() and self.node not in self.world.frozen:
                answered.set_result(self.world.cluster.answer(self.node, version, body))

        def give_up() -> None:
            if not answered.done():
                self.closed = True
                answered.set_exception(KafkaConnectionError("no answer"))

        loop.call_later(self.world.latency(), answer)
        loop.call_later(timeout, give_up)


class World:
    """Brokers, the client's metadata, and a listener that keeps the records read."""

    rack = "here"

    def __init__(
        self,
        newest: int = 17,
        partitions: int = 2,
        seed: int = 0,
        nodes: tuple[int, ...] = NODES,
        limits: Limits | None = None,
    ) -> None:
        self.chance = random.Random(seed)
        self.cluster = Cluster(newest)
        self.cluster.create(TOPIC, [nodes[n % len(nodes)] for n in range(partitions)])
        self.logs = [TopicPartition(TOPIC, number) for number in range(partitions)]
        self.known: dict[TopicPartition, Leader | None] = {}
        self.down: set[int] = set()
        self.frozen: set[int] = set()
        self.connections: list[FakeConnection] = []
        self.listeners: list[Callable[[], None]] = []
        self.read: dict[TopicPartition, list[tuple[int, bytes]]] = {log: [] for log in self.logs}
        self.losses: list[TopicPartition] = []
        self.unproven_logs: list[TopicPartition] = []
        self.strange: list[TopicPartition] = []
        self.stalls: list[TopicPartition] = []
        self.tells = True
        self.reader = FetchReader(cast("ClusterClient", self), self, self, limits=limits)
        self.learn()

    def latency(self) -> float:
        return self.chance.choice([0.001, 0.01, 0.1])

    # What the reader asks of the client.

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def leader(self, log: TopicPartition) -> Leader | None:
        return self.known.get(log)

    def request_refresh(self) -> None:
        asyncio.get_running_loop().call_later(0.2, self.learn)

    def learn(self) -> None:
        for log, partition in self.cluster.partitions.items():
            self.known[log] = Leader(partition.leader, partition.epoch)
        if self.tells:
            for listener in self.listeners:
                listener()

    async def connect(self, node: int) -> FakeConnection:
        await asyncio.sleep(self.latency())
        if node in self.down:
            raise KafkaConnectionError(f"broker {node} is down")
        connection = FakeConnection(self, node)
        self.connections.append(connection)
        return connection

    # What the reader calls.

    async def deliver(self, fresh: dict[TopicPartition, list[Record]]) -> None:
        for log, records in fresh.items():
            for record in records:
                assert record.value is not None
                self.read[log].append((record.offset, record.value))
        await asyncio.sleep(0)

    def lost(self, log: TopicPartition) -> None:
        """Continue at the end of the log, as the live reader does."""
        self.losses.append(log)
        self.begin(log, self.cluster.partitions[log].end)

    def unproven(self, log: TopicPartition) -> None:
        self.unproven_logs.append(log)

    def unknown_topic(self, log: TopicPartition) -> None:
        self.strange.append(log)

    def stalled(self, log: TopicPartition, reason: str) -> None:
        self.stalls.append(log)

    def failed(self, part: Part, error: BaseException) -> None:
        raise AssertionError(part) from error

    def unreadable(self, log: TopicPartition, offset: int, reason: UnreadableReason) -> None:
        raise AssertionError((log, offset, reason))

    # What the tests do.

    def begin(self, log: TopicPartition, offset: int = 0) -> None:
        self.reader.read(log, offset, self.cluster.ids[log.topic])

    def values(self, log: TopicPartition) -> list[bytes]:
        return [value for _, value in self.read[log]]

    def elect(self, log: TopicPartition, node: int) -> None:
        partition = self.cluster.partitions[log]
        partition.leader, partition.epoch = node, partition.epoch + 1


def simulate(
    world: World, play: Coroutine[Any, Any, None], monkeypatch: pytest.MonkeyPatch
) -> float:
    """Run a play while the reader reads; return how long it took, in simulated seconds."""
    selector = SimulatedTime()
    loop = asyncio.SelectorEventLoop(selector)
    monkeypatch.setattr(loop, "time", lambda: selector.now)
    monkeypatch.setattr(clock, "now", lambda: Moment(selector.now, int(selector.now * 1000)))

    async def run() -> None:
        reading = asyncio.create_task(world.reader.run())
        playing = asyncio.create_task(play)
        await asyncio.wait([reading, playing], return_when=asyncio.FIRST_COMPLETED)
        if reading.done():  # the reader stops only on cancellation
            await reading
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await playing

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    return selector.now


@pytest.fixture
def world() -> World:
    return World()


A, B = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


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
