"""Helpers of the tests of malformed records."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gateway.core.partitioner import partitioner
from tests.brokers.batches import Row
from tests.client import StreamClient
from tests.integration.conftest import OpenStream, new_user
from tests.records import TYPE, envelope, numbered
from tests.worker import Worker


def now() -> int:
    return int(time.time() * 1000)


def row(user: str, number: int, *headers: tuple[str, bytes]) -> Row:
    return Row(user.encode(), envelope(user, TYPE, numbered(number)), headers)


def user_of(partition: int, partitions: int) -> str:
    """Return a new user whose events are in that partition."""
    choose = partitioner("murmur2")
    return next(
        user for user in iter(new_user, "") if choose(user.encode(), partitions) == partition
    )


async def follow(
    open_stream: OpenStream, worker: Worker, users: Sequence[str], begin: Sequence[str] = ()
) -> list[StreamClient]:
    """Open a stream of each user, from now on or from an id each, and return when they follow."""
    return [
        await open_stream(worker, user, headers={"Last-Event-ID": event_id} if event_id else None)
        for user, event_id in zip(users, begin or [""] * len(users), strict=True)
    ]


async def expect(clients: list[StreamClient], *numbers: int) -> None:
    """Wait until each client has exactly its expected events."""
    for client in clients:
        await client.wait_for(len(numbers))
        assert client.numbers == [*numbers]
        assert client.own("gap") == []


def skipped(worker: Worker) -> list[tuple[str, int, int, str]]:
    """Return the log lines of skipped records."""
    lines = worker.entries("record skipped")
    return [(line["topic"], line["partition"], line["offset"], line["reason"]) for line in lines]
