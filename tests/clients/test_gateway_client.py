"""The Python client on a live worker, behind a network that fails: every event once, by number."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.client import (
    Close,
    Delivery,
    Event,
    EventStream,
    Gap,
    IdFile,
    Interrupted,
    Item,
    Message,
    Opened,
)
from tests.child import Child
from tests.clients.conftest import MAX_EVENTS
from tests.clients.iterating import opened, until
from tests.clients.programs import SOURCES
from tests.eventually import DEADLINE, eventually
from tests.records import TYPE, RecordWriter
from tests.relay import Relay
from tests.tokens import mint

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True, scope="session")


@pytest.fixture
def url(relay: Relay) -> str:
    return f"{relay.url}/api/v1/events"


def numbers(items: Sequence[Item]) -> list[int]:
    return [item.json()["n"] for item in items if isinstance(item, Event)]


async def test_a_connection_that_breaks_in_the_middle_of_events_loses_and_repeats_none(
    url: str, relay: Relay, write: RecordWriter, user: str
) -> None:
    found: list[Item] = []
    async with EventStream(url, mint(user)) as stream:
        await opened(stream)
        for words in (b"id: 1", b"event: port", b'data: {"n"', b"}\n", b"}\n\n"):
            begin = len(numbers(found))
            relay.cut_behind(words)
            await write.numbered(user, range(begin, begin + 20))
            found += await until(stream, begin + 19)
    assert numbers(found) == list(range(100))
    assert sum(isinstance(item, Interrupted) for item in found) == 5
    assert [item.resumed for item in found if isinstance(item, Opened)] == [True] * 5


async def test_killed_program_resumes_from_its_id_file(
    url: str, write: RecordWriter, user: str, tmp_path: Path
) -> None:
    path = tmp_path / "id"
    program = str(SOURCES / "python" / "read_with_id_file.py")

    def start(name: str) -> Child:
        return Child([sys.executable, program, url, mint(user), str(path)], tmp_path / name)

    async def told(child: Child, line: str) -> None:
        await eventually(f"{line!r} is printed", lambda: f"{line}\n" in child.log())

    first = start("first")
    try:
        await told(first, "Opened(resumed=False)")
        await eventually("the first id is kept", lambda: asyncio.to_thread(path.exists))
        await write.numbered(user, range(50))
        await told(first, "20")
        first.kill()
    finally:
        first.end()
    await write.numbered(user, range(50, 60))
    second = start("second")
    try:
        await told(second, "59")
    finally:
        second.end()
    before, after = numbers_of(first), numbers_of(second)
    assert second.log().startswith("Opened(resumed=True)\n")
    assert before == list(range(len(before)))
    assert after == list(range(after[0], 60))
    assert len(before) - after[0] in {0, 1}, "at least once: only the last one may come again"


def numbers_of(child: Child) -> list[int]:
    whole, _, _ = child.log().rpartition("\n")
    return [int(line) for line in whole.splitlines() if line.isdecimal()]


async def test_a_token_that_expires_is_renewed_and_no_event_lost(
    url: str, write: RecordWriter, user: str
) -> None:
    lifetimes = iter([8.0, 3600.0])  # the first one is for opening and five events

    async def token() -> str:
        return mint(user, lifetime=next(lifetimes))

    async with EventStream(url, token) as stream:
        await opened(stream)
        await write.numbered(user, range(5))
        found = await until(stream, 4)
        async with asyncio.timeout(DEADLINE):
            close, interrupted = await anext(stream), await anext(stream)
        await write.numbered(user, range(5, 10))
        found += await until(stream, 9)
    assert isinstance(close, Close)
    assert close.reason == "token_expired"
    assert isinstance(interrupted, Interrupted)
    assert interrupted.reason == "the server ended the stream"
    assert 0.05 <= interrupted.retry_in <= 0.15, "GATEWAY_RETRY_MS with its spread of 50 %"
    assert numbers(found) == list(range(10))
    assert next(lifetimes, None) is None


async def test_replay_above_the_limit_is_reported_as_gap(
    url: str, write: RecordWriter, user: str, tmp_path: Path
) -> None:
    file = IdFile(tmp_path / "id", Delivery.AT_MOST_ONCE)
    async with EventStream(url, mint(user), resume=file) as stream:
        await opened(stream)
        await write.numbered(user, [0])
        await until(stream, 0)
    async with EventStream(url, mint(user)) as witness:
        await opened(witness)
        await write.numbered(user, range(1, MAX_EVENTS + 31))
        await until(witness, MAX_EVENTS + 30)  # what the worker has not read would come live
    async with EventStream(url, mint(user), resume=file) as stream:
        found = await until(stream, MAX_EVENTS + 30)
    begin, gap, *events = found
    assert begin == Opened(resumed=True)
    assert isinstance(gap, Gap)
    assert gap.reason == "limit"
    assert numbers(events) == list(range(31, MAX_EVENTS + 31))


async def test_a_network_that_falls_silent_is_noticed(
    url: str, relay: Relay, write: RecordWriter, user: str
) -> None:
    async with EventStream(url, mint(user), silence_seconds=1.2) as stream:
        await opened(stream)
        relay.freeze()
        await write.numbered(user, range(5))
        async with asyncio.timeout(DEADLINE):
            interrupted = await anext(stream)
        relay.thaw()
        assert isinstance(interrupted, Interrupted)
        assert interrupted.reason == "the server sends no data"
        assert numbers(await until(stream, 4)) == list(range(5))


async def test_events_are_chosen_and_the_past_is_asked_for(
    url: str, write: RecordWriter, user: str
) -> None:
    begin = datetime.fromtimestamp(time.time() - 1, UTC)
    await write.event(user, "import.started")
    await write.numbered(user, [0])
    async with EventStream(
        url, mint(user), categories=["portfolio", "security"], since=begin
    ) as stream:
        first, event = await until(stream, 0)
    assert first == Opened(resumed=False)
    assert isinstance(event, Message)
    assert event.type == TYPE
