"""Reading yields to the event loop, however many batches without records a response has."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from gateway.kafka.client.cluster import ClusterClient
from gateway.kafka.client.metadata import Leader
from gateway.kafka.fetch.batches import BATCH_WORK, SLICE
from gateway.kafka.fetch.scanner import LogScanner
from tests.kafka.fetch.cluster import Cluster, Entry
from tests.kafka.fetch.simulation import TOPIC, A, World, simulate

BATCHES = 4 * SLICE


class PerTurn:
    """Counts calls: all of them, and the most in one turn of the event loop."""

    def __init__(self) -> None:
        self.all = self.most = self._now = 0

    def __call__(self, *_: object) -> None:
        if not self._now:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        self.all += 1
        self._now += 1
        self.most = max(self.most, self._now)

    def _begin_turn(self) -> None:
        self._now = 0


def append_corrupt_batches(cluster: Cluster) -> None:
    """Append batches with a wrong checksum and a sound one, as one entry: it is sent whole."""
    entries = []
    for _ in range(BATCHES):
        cluster.partitions[A].append(b"a")
        entry = cluster.partitions[A].entries[-1]
        entries.append(entry.data[:-1] + bytes([entry.data[-1] ^ 1]))
    cluster.partitions[A].append(b"sound")
    entries.append(cluster.partitions[A].entries[-1].data)
    values = [b""] * len(entries)
    cluster.partitions[A].entries = [Entry(0, b"".join(entries), 1, values)]


def test_live_reading_yields_between_batches_that_it_skips(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped = PerTurn()
    monkeypatch.setattr(world, "unreadable", skipped)

    async def play() -> None:
        append_corrupt_batches(world.cluster)
        world.begin(A)
        await asyncio.sleep(5)

    simulate(world, play(), monkeypatch)
    assert world.values(A) == [b"sound"]
    assert skipped.all == BATCHES
    assert skipped.most <= SLICE // BATCH_WORK


class OneBroker:
    """A cluster and its connection, which answers at once."""

    closed = False

    def __init__(self, cluster: Cluster) -> None:
        self.versions = {1: (4, cluster.newest)}
        self._cluster = cluster

    def leader_or_raise(self, _: object) -> Leader:
        return Leader(1, 1)

    async def connect(self, _: int) -> OneBroker:
        return self

    async def request(self, _key: int, version: int, body: bytes, _timeout: float) -> bytes:
        return self._cluster.answer(1, version, body)


async def test_a_scan_yields_between_batches_that_it_skips() -> None:
    cluster = Cluster(17)
    cluster.create(TOPIC, [1])
    append_corrupt_batches(cluster)
    skipped = PerTurn()
    scanner = LogScanner(cast("ClusterClient", OneBroker(cluster)), skipped)
    scanner.seek(A, 0, cluster.ids[TOPIC])
    records, following = await scanner.fetch()
    assert ([record.value for record in records], following) == ([b"sound"], BATCHES + 1)
    assert skipped.all == BATCHES
    assert skipped.most <= SLICE // BATCH_WORK
